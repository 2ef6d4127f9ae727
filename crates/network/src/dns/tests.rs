//! The server as a whole, on loopback sockets of this process: no root, no container.

mod fuzz;
mod outside;
mod support;
mod zones;
