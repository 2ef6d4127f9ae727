//! The one crossing from async code to the storage, which may wait for the disk.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::storage::{Storage, StorageError};
use crate::codes::{Code, Refusal};

/// File work waits for the disk rather than computing: more of it than cores may run.
static FILES: Semaphore = Semaphore::const_new(64);

/// Runs `job` on a thread where it may block; `doing` says in a refusal and in the log what failed.
pub(super) async fn files<T, F>(doing: &'static str, job: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StorageError> + Send + 'static,
{
    let _permit = FILES.acquire().await.map_err(|error| Refusal::internal(doing, &error))?;
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result.map_err(|error| refused(doing, &error)),
        Err(error) => Err(Refusal::internal(doing, &error)),
    }
}

/// The same with the storage at hand.
pub(super) async fn with_storage<T, F>(storage: &Arc<dyn Storage>, doing: &'static str, job: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce(&dyn Storage) -> Result<T, StorageError> + Send + 'static,
{
    let storage = Arc::clone(storage);
    files(doing, move || job(storage.as_ref())).await
}

/// What a client hears of a storage's trouble.
fn refused(doing: &str, error: &StorageError) -> Refusal {
    match error {
        StorageError::Gone => super::route::upload_unknown(),
        error if error.is_full() => {
            tracing::error!(doing, %error, "the disk is full");
            Refusal::new(Code::Denied, "the registry's disk is full").status(http::StatusCode::INSUFFICIENT_STORAGE)
        }
        error => Refusal::internal(doing, error),
    }
}
