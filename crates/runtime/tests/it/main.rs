//! Containers on this machine's kernel; needs root. Every test has its own root, cgroups and state folders, and leaves nothing.

mod exec;
mod fixture;
mod inside;
mod life;
mod oci;
mod stdio;
mod steps;
