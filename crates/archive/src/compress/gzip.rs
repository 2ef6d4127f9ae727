//! gzip: streams of several members in, blocks of 1 MiB as members out.
//!
//! What must stay true: the bytes written depend on the input and the level only. Every member holds one block, so blocks are compressed side by side
//! and any gzip reader (RFC 1952, section 2.2: members simply follow each other) sees one stream.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor};

/// Input bytes per member.
const BLOCK: usize = 1 << 20;

/// Decodes members one after the other; zeros after the last one are padding, as gzip(1) has it, anything else is an error.
pub(super) struct MultiMember<R: BufRead> {
    state: Option<flate2::bufread::GzDecoder<R>>,
}

impl<R: BufRead> MultiMember<R> {
    pub(super) fn new(reader: R) -> Self {
        MultiMember { state: Some(flate2::bufread::GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for MultiMember<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(decoder) = &mut self.state {
            let count = decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let mut rest = self.state.take().map(flate2::bufread::GzDecoder::into_inner).ok_or(io::ErrorKind::UnexpectedEof)?;
            match rest.fill_buf()?.first() {
                None => {}
                Some(0) => only_zeros(&mut rest)?,
                Some(_) => self.state = Some(flate2::bufread::GzDecoder::new(rest)),
            }
        }
        Ok(0)
    }
}

fn only_zeros(rest: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = rest.fill_buf()?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "garbage after the end of the gzip stream"));
        }
        rest.consume(count);
    }
}

/// A block to compress and where its result goes.
type Job = (Vec<u8>, SyncSender<Vec<u8>>);

/// Compresses what is written to it.
pub struct GzipBlocks<W: Write> {
    out: W,
    block: Vec<u8>,
    any: bool,
    jobs: Option<SyncSender<Job>>,
    results: VecDeque<Receiver<Vec<u8>>>,
    workers: Vec<JoinHandle<()>>,
    compressor: Compressor,
}

impl<W: Write> GzipBlocks<W> {
    /// Writes to `out` at `level` 1 to 12 (out of range is the nearest), with `threads` compressing; 0 or 1 compress on the caller's thread.
    pub fn new(out: W, level: i32, threads: usize) -> GzipBlocks<W> {
        let level = CompressionLvl::new(level.clamp(1, 12)).unwrap_or_default();
        let (mut jobs, mut workers) = (None, Vec::new());
        if threads > 1 {
            let (sender, receiver) = sync_channel::<Job>(threads);
            let receiver = Arc::new(Mutex::new(receiver));
            workers = (0..threads).filter_map(|number| spawn_worker(number, level, Arc::clone(&receiver))).collect();
            // Without a single thread to be had the caller's own does the work.
            jobs = (!workers.is_empty()).then_some(sender);
        }
        GzipBlocks {
            out,
            block: Vec::with_capacity(BLOCK),
            any: false,
            jobs,
            results: VecDeque::new(),
            workers,
            compressor: Compressor::new(level),
        }
    }

    /// Writes the rest and gives the output back, not flushed. An empty input becomes one empty member.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || !self.any {
            self.end_block()?;
        }
        self.jobs = None;
        while !self.results.is_empty() {
            self.write_oldest()?;
        }
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| io::Error::other("a compressing thread panicked"))?;
        }
        Ok(self.out)
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.any = true;
        let Some(jobs) = &self.jobs else {
            let member = compress(&mut self.compressor, &self.block);
            self.block.clear();
            return self.out.write_all(&member);
        };
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let (sender, receiver) = sync_channel(1);
        jobs.send((block, sender)).map_err(|_| io::Error::other("the compressing threads are gone"))?;
        self.results.push_back(receiver);
        if self.results.len() > 2 * self.workers.len() { self.write_oldest() } else { Ok(()) }
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.results.pop_front() else { return Ok(()) };
        let member = oldest.recv().map_err(|_| io::Error::other("a compressing thread is gone"))?;
        self.out.write_all(&member)
    }
}

impl<W: Write> Write for GzipBlocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.end_block()?;
        }
        Ok(count)
    }

    /// Does not end the block: where blocks end must not depend on who flushes when.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn spawn_worker(number: usize, level: CompressionLvl, jobs: Arc<Mutex<Receiver<Job>>>) -> Option<JoinHandle<()>> {
    let work = move || {
        let mut compressor = Compressor::new(level);
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((block, result)) = job else { return };
            // Nobody waits any more when the writer failed; the next receive then ends this thread.
            let _ = result.send(compress(&mut compressor, &block));
        }
    };
    std::thread::Builder::new().name(format!("gzip-{number}")).spawn(work).ok()
}

fn compress(compressor: &mut Compressor, block: &[u8]) -> Vec<u8> {
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor.gzip_compress(block, &mut member).expect("the bound given by the library is enough");
    member.truncate(length);
    member
}
