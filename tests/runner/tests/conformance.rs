//! The whole conformance suite as a test (`cargo test -p vizor-tests --test conformance`).

use std::process::ExitCode;

use vizor_tests::conformance::{Options, run};

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).map_err(std::io::Error::other).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("conformance: {e}");
            ExitCode::FAILURE
        }
    }
}
