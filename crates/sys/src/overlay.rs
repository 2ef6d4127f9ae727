//! Overlay mounts, built detached.
//!
//! What must stay true: folder names may hold any byte (colons and commas too), and their number is bounded by the kernel (500), not by a page of text.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::Error;
use crate::mount::{DetachedMount, MountBuilder};
use crate::probe::Probe;

/// The kernel's own bound (OVL_MAX_STACK).
pub const MAX_LOWERS: usize = 500;

/// What to stack.
#[derive(Debug, Clone)]
pub struct Overlay<'a> {
    /// Read-only folders, the uppermost first.
    pub lowers: &'a [PathBuf],
    /// Where changes go and the kernel's work folder beside it; none makes the whole read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// Skip every sync: the upper folder is worthless after a crash of the machine (kernel 5.10).
    pub volatile: bool,
}

impl Overlay<'_> {
    /// Mounts the stack without attaching it.
    ///
    /// # Errors
    /// `E2BIG` for more than [`MAX_LOWERS`] folders; otherwise what the kernel says, with its words.
    ///
    /// # Cost
    /// 0.2-0.4 ms.
    pub fn mount(&self, attributes: u64) -> Result<DetachedMount, Error> {
        if self.lowers.is_empty() || self.lowers.len() > MAX_LOWERS {
            return Err(Error::new(format!("overlay of {} folders", self.lowers.len()), Errno::TOOBIG));
        }
        let mut builder = MountBuilder::new("overlay")?.option("source", "overlay")?;
        builder = if Probe::get().overlay_append_lower { self.append_lowers(builder)? } else { self.join_lowers(builder)? };
        if let Some((upper, work)) = self.upper {
            builder = builder.option("upperdir", upper)?.option("workdir", work)?;
            if self.volatile {
                builder = builder.flag("volatile")?;
            }
        }
        // Index and metacopy off: layers are shared between mounts and their files must stay whole, whatever the module's defaults.
        builder = builder.option("index", "off")?.option("metacopy", "off")?.option("redirect_dir", "off")?;
        builder.mount(attributes)
    }

    fn append_lowers(&self, mut builder: MountBuilder) -> Result<MountBuilder, Error> {
        for lower in self.lowers {
            builder = builder.option("lowerdir+", lower)?;
        }
        Ok(builder)
    }

    fn join_lowers(&self, builder: MountBuilder) -> Result<MountBuilder, Error> {
        let mut joined = Vec::new();
        for lower in self.lowers {
            if !joined.is_empty() {
                joined.push(b':');
            }
            for byte in lower.as_os_str().as_bytes() {
                if matches!(byte, b':' | b'\\') {
                    joined.push(b'\\');
                }
                joined.push(*byte);
            }
        }
        builder.option("lowerdir", OsString::from_vec(joined))
    }
}
