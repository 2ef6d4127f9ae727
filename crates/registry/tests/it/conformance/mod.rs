//! What the distribution specification (1.1) demands of a registry, read from its text and asked of ours. Each test names the section and the endpoint
//! (`end-…`) or error (`code-…`) it comes from.

mod discovery;
mod errors;
mod management;
mod pull;
mod push;
