//! What can be seen of a server: access log, its own log, metrics, and the admin listener that shows them.
