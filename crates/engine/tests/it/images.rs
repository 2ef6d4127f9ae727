//! Rules of untagging and removing images.

use shipway_engine::Error;
use shipway_engine::containers::CommitSpec;
use shipway_engine::images::{ImageListOptions, ImageRemoveOptions, ImageRemoved};
use shipway_model::Reference;

use crate::fixture::Fixture;

const FORCE: ImageRemoveOptions = ImageRemoveOptions { force: true, no_prune: false };

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn reason(error: Error) -> String {
    let Error::Conflict { reason, .. } = error else { panic!("{error:?}") };
    reason
}

#[tokio::test]
async fn a_name_is_untagged_and_the_image_goes_with_its_last_one() {
    let it = Fixture::new().await;
    it.engine.tag_image("bb", &name("other:1")).await.unwrap();
    let removed = it.engine.remove_image("other:1", ImageRemoveOptions::default()).await.unwrap();
    assert_eq!(removed, [ImageRemoved::Untagged("other:1".to_owned())]);
    let id = it.engine.inspect_image("bb").unwrap().image.id;
    // A second tag of the same repository is a further name as well.
    it.engine.tag_image("bb", &name("bb:2")).await.unwrap();
    let refused = reason(it.engine.remove_image(&id.0.short(), ImageRemoveOptions::default()).await.unwrap_err());
    assert!(refused.contains("image is referenced in multiple repositories"), "{refused}");
    it.engine.remove_image("bb:2", ImageRemoveOptions::default()).await.unwrap();
    it.engine.tag_image("bb", &name("x/y")).await.unwrap();
    let refused = reason(it.engine.remove_image(&id.0.short(), ImageRemoveOptions::default()).await.unwrap_err());
    assert!(refused.contains("image is referenced in multiple repositories"), "{refused}");
    let removed = it.engine.remove_image(&id.0.short(), FORCE).await.unwrap();
    assert_eq!(removed.last(), Some(&ImageRemoved::Deleted(id.to_string())));
    assert!(it.engine.list_images(&ImageListOptions::default()).unwrap().is_empty());
    it.finish().await;
}

#[tokio::test]
async fn a_container_keeps_its_image_and_force_goes_as_far_as_dockerd() {
    let it = Fixture::new().await;
    it.start("web", "sleep 100").await;
    let id = it.engine.inspect_image("bb").unwrap().image.id;
    let refused = reason(it.engine.remove_image("bb", ImageRemoveOptions::default()).await.unwrap_err());
    assert!(refused.starts_with("conflict: unable to remove repository reference \"bb\" (must force) - container "), "{refused}");
    let refused = reason(it.engine.remove_image(&id.0.short(), FORCE).await.unwrap_err());
    assert!(refused.contains("(cannot be forced) - image is being used by running container"), "{refused}");
    // Running: the image stays, without a name, and is not pruned.
    assert_eq!(it.engine.remove_image("bb", FORCE).await.unwrap(), [ImageRemoved::Untagged("bb:latest".to_owned())]);
    assert_eq!(it.engine.prune_images(&Default::default()).await.unwrap().0, []);
    it.engine.kill_container("web", None).await.unwrap();
    let refused = reason(it.engine.remove_image(&id.0.short(), ImageRemoveOptions::default()).await.unwrap_err());
    assert!(refused.contains("(must be forced) - image is being used by stopped container"), "{refused}");
    it.engine.remove_image(&id.0.short(), FORCE).await.unwrap();
    // Its layers stay as long as the container needs them.
    it.engine.start_container("web").await.unwrap();
    it.remove("web").await;
    it.finish().await;
}

#[tokio::test]
async fn prune_takes_nameless_images_and_with_all_also_unused_ones() {
    let it = Fixture::new().await;
    it.engine.tag_image("bb", &name("keep")).await.unwrap();
    crate::fixture::import_busybox(&it.engine, &["ENV A=b"]).await;
    assert_eq!(it.engine.list_images(&ImageListOptions::default()).unwrap().len(), 2);
    it.engine.remove_image("keep", FORCE).await.unwrap();
    let (removed, _) = it.engine.prune_images(&Default::default()).await.unwrap();
    assert_eq!(removed, [], "every image left has a name");
    let all = shipway_engine::Filters::new([("dangling".to_owned(), vec!["false".to_owned()])].into());
    let (removed, bytes) = it.engine.prune_images(&all).await.unwrap();
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert!(bytes > 500_000, "{bytes}");
    it.finish().await;
}

/// `save busybox` means every tag of busybox, whether there is a "latest" or not; nothing is ever named by a digest it does not have.
#[tokio::test]
async fn a_bare_repository_is_saved_with_all_its_tags_and_digests_are_no_names_to_give() {
    let it = Fixture::new().await;
    for tag in ["app:1", "app:2", "apple:1"] {
        it.engine.tag_image("bb", &name(tag)).await.unwrap();
    }
    let mut stream = it.engine.save_images(vec!["app".to_owned()], None, None).await.unwrap();
    let mut archive = Vec::new();
    while let Some(bytes) = stream.recv().await {
        archive.extend_from_slice(&bytes.unwrap());
    }
    let text = String::from_utf8_lossy(&archive);
    assert!(text.contains("\"app:1\"") && text.contains("\"app:2\"") && !text.contains("\"apple:1\""), "the names in manifest.json");
    it.create("box", "true").await;
    let digest = name(&format!("app@sha256:{}", "0".repeat(64)));
    let spec = CommitSpec { reference: Some(digest), ..CommitSpec::default() };
    let refused = it.engine.commit_container("box", spec).await.unwrap_err();
    assert!(refused.to_string().contains("digest reference"), "{refused}");
    it.remove("box").await;
    it.finish().await;
}

#[tokio::test]
async fn changes_of_a_commit_set_a_user_that_only_the_image_knows() {
    let it = Fixture::new().await;
    it.create("box", "true").await;
    let changes = vec!["USER user".to_owned(), "WORKDIR /app".to_owned()];
    let spec = CommitSpec { reference: Some(name("committed")), changes, ..CommitSpec::default() };
    it.engine.commit_container("box", spec).await.unwrap();
    let config = it.engine.inspect_image("committed").unwrap().image.config.config.clone();
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("user", "/app"));
    it.remove("box").await;
    it.finish().await;
}
