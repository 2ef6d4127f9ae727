//! The hidden personalities and the OCI face alone, for the tests and benches of this crate; the product's binary has them too.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = shipway_runtime::personality(&arguments) {
        return code;
    }
    match arguments.get(1) {
        Some(word) if word == "oci" => ExitCode::from(shipway_runtime::oci::run(&arguments[2..])),
        _ => ExitCode::FAILURE,
    }
}
