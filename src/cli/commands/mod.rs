//! The table of all commands.

pub(crate) mod builder;
pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod image;
pub(crate) mod manifest;
pub(crate) mod network;
pub(crate) mod registry;
pub(crate) mod system;
pub(crate) mod volume;

use super::catalog::Entry;

/// Every command. The order means nothing; help pages sort.
pub(crate) const TABLE: &[Entry] = &[
    Entry::of::<container::attach::Attach>(),
    Entry::of::<container::commit::Commit>(),
    Entry::of::<container::copy::Copy>(),
    Entry::of::<container::create::Create>(),
    Entry::of::<container::diff::Diff>(),
    Entry::of::<container::exec::Exec>(),
    Entry::of::<container::export::Export>(),
    Entry::of::<container::inspect::Inspect>(),
    Entry::of::<container::kill::Kill>(),
    Entry::of::<container::list::List>(),
    Entry::of::<container::logs::Logs>(),
    Entry::of::<container::pause::Pause>(),
    Entry::of::<container::pause::Unpause>(),
    Entry::of::<container::port::Port>(),
    Entry::of::<container::prune::Prune>(),
    Entry::of::<container::remove::Remove>(),
    Entry::of::<container::rename::Rename>(),
    Entry::of::<container::restart::Restart>(),
    Entry::of::<container::run::Run>(),
    Entry::of::<container::start::Start>(),
    Entry::of::<container::stats::Stats>(),
    Entry::of::<container::stop::Stop>(),
    Entry::of::<container::top::Top>(),
    Entry::of::<container::update::Update>(),
    Entry::of::<container::wait::Wait>(),
    Entry::of::<image::build::Build>(),
    Entry::of::<image::history::History>(),
    Entry::of::<image::import::Import>(),
    Entry::of::<image::inspect::Inspect>(),
    Entry::of::<image::list::List>(),
    Entry::of::<image::load::Load>(),
    Entry::of::<image::prune::Prune>(),
    Entry::of::<image::pull::Pull>(),
    Entry::of::<image::push::Push>(),
    Entry::of::<image::remove::Remove>(),
    Entry::of::<image::receive::Receive>(),
    Entry::of::<image::referrers::Referrers>(),
    Entry::of::<image::save::Save>(),
    Entry::of::<image::send::Send>(),
    Entry::of::<image::tag::Tag>(),
    Entry::of::<builder::history::HistoryList>(),
    Entry::of::<builder::history::HistoryLogs>(),
    Entry::of::<builder::prune::Prune>(),
    Entry::of::<network::connect::Connect>(),
    Entry::of::<network::connect::Disconnect>(),
    Entry::of::<network::create::Create>(),
    Entry::of::<network::doctor::Doctor>(),
    Entry::of::<network::inspect::Inspect>(),
    Entry::of::<network::list::List>(),
    Entry::of::<network::remove::Prune>(),
    Entry::of::<network::remove::Remove>(),
    Entry::of::<volume::create::Create>(),
    Entry::of::<volume::portable::Clone>(),
    Entry::of::<volume::portable::Export>(),
    Entry::of::<volume::portable::Import>(),
    Entry::of::<volume::inspect::Inspect>(),
    Entry::of::<volume::list::List>(),
    Entry::of::<volume::remove::Prune>(),
    Entry::of::<volume::remove::Remove>(),
    Entry::of::<system::df::DiskUsage>(),
    Entry::of::<system::events::Events>(),
    Entry::of::<system::fsck::Fsck>(),
    Entry::of::<system::info::Info>(),
    Entry::of::<system::inspect::Inspect>(),
    Entry::of::<system::prune::Prune>(),
    Entry::of::<system::version::Version>(),
    Entry::of::<manifest::Annotate>(),
    Entry::of::<manifest::Create>(),
    Entry::of::<manifest::Inspect>(),
    Entry::of::<manifest::Push>(),
    Entry::of::<manifest::Remove>(),
    Entry::of::<registry::login::Login>(),
    Entry::of::<registry::logout::Logout>(),
    Entry::of::<registry::search::Search>(),
    Entry::of::<registry::serve::Serve>(),
    Entry::of::<context::Inspect>(),
    Entry::of::<context::List>(),
    Entry::of::<context::Show>(),
    Entry::of::<context::Use>(),
];

#[cfg(test)]
mod tests;
