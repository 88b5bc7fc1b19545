//! A platform for unit tests: it runs no code, and remembers what it was told.
