//! Commands about registries themselves: who we are to them, and what they have.

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod search;
pub(crate) mod serve;
