//! The hidden personalities alone, for the tests of this crate; the product's binary has them too.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    shipway_runtime::personality(&arguments).unwrap_or(ExitCode::FAILURE)
}
