//! Test suites that run whole programs, natively and under Vizor, and compare.

pub mod build;
pub mod conformance;
pub mod expectations;
pub mod runs;
