//! The master process: it holds the listening sockets, starts the workers, looks after them, and obeys signals.
