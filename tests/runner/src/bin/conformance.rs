//! Runs a chosen part of the conformance suite by hand.

use std::process::ExitCode;

use vizor_tests::conformance::{Options, run};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => Options { verbose: true, ..options },
        Err(e) => {
            eprintln!("{e}\nusage: conformance [--native-only] [--limit SECONDS] [--filter SUBSTRING]...");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("conformance: {e}");
            ExitCode::FAILURE
        }
    }
}
