//! The command line of a server: one table of settings, from which arguments, environment, file, help and pages come.
