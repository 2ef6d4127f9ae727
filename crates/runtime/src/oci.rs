//! The OCI runtime command line over the same code.
