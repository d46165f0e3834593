//! One connection, from its first byte to its last: hyper speaks HTTP, and what stands here is around it — the transport
//! below, and above it the limits and time-outs that hyper leaves to its user.
