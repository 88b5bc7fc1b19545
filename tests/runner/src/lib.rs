//! Runs the conformance cases and the real-program suite.
