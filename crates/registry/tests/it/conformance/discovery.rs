//! Category "Content Discovery".

use crate::serving::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Running, refused};
use serde_json::{Value, json};
use shipway_model::Digest;

async fn tagged(registry: &Running, repository: &str, tags: &[&str]) {
    let manifest = registry.image(repository, "x", json!({})).await;
    for tag in tags {
        assert_eq!(registry.push_manifest(repository, tag, OCI_MANIFEST, &manifest).await.status, 201, "{tag}");
    }
}

/// Follows `Link` from page to page; gives the pages.
async fn pages(registry: &Running, first: &str, field: &str) -> Vec<Vec<Value>> {
    let (mut path, mut pages) = (first.to_owned(), Vec::new());
    loop {
        let answer = registry.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        pages.push(answer.json()[field].as_array().unwrap().clone());
        let link = answer.header("link").to_owned();
        match link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")) {
            Some(next) => path = next.to_owned(),
            None => {
                assert_eq!(link, "");
                return pages;
            }
        }
    }
}

/// "Listing Tags", end-8a: in lexical order without regard to case.
#[tokio::test]
async fn tags_are_listed_in_order() {
    let registry = Running::start().await;
    tagged(&registry, "a/b", &["v2", "V1", "latest", "1.0", "_x", "v10"]).await;
    let answer = registry.get("/v2/a/b/tags/list").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.json(), json!({ "name": "a/b", "tags": ["1.0", "_x", "latest", "V1", "v10", "v2"] }));
    assert_eq!(answer.header("link"), "");
}

/// "Listing Tags", end-8b: `n`, `last` and `Link`.
#[tokio::test]
async fn tags_are_listed_in_pages() {
    let registry = Running::start().await;
    tagged(&registry, "a", &["1", "2", "3", "4", "5"]).await;
    assert_eq!(
        pages(&registry, "/v2/a/tags/list?n=2", "tags").await,
        [vec![json!("1"), json!("2")], vec![json!("3"), json!("4")], vec![json!("5")]]
    );
    assert_eq!(pages(&registry, "/v2/a/tags/list?n=5", "tags").await.len(), 1);
    for (query, expected) in [
        ("n=0", json!([])),
        ("n=2&last=3", json!(["4", "5"])),
        ("last=2", json!(["3", "4", "5"])),
        ("last=2x", json!(["3", "4", "5"])),
        ("n=2&last=5", json!([])),
        ("n=99999999999999999999", json!(["1", "2", "3", "4", "5"])),
    ] {
        let answer = registry.get(&format!("/v2/a/tags/list?{query}")).await;
        assert_eq!((answer.json()["tags"].clone(), answer.header("link")), (expected, ""), "{query}");
    }
    for query in ["n=-1", "n=x", "n="] {
        assert_eq!(registry.get(&format!("/v2/a/tags/list?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(registry.get("/v2/a/tags/list?last=..").await.status, 400);
}

/// "Listing Tags": 404 for an unknown repository; an empty list when there are no tags.
#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list() {
    let registry = Running::start().await;
    assert_eq!(registry.get("/v2/a/tags/list").await.refusal(), refused(404, "NAME_UNKNOWN"));
    let manifest = registry.image("a", "x", json!({})).await;
    registry.push_manifest("a", &Digest::sha256_of(&manifest).to_string(), OCI_MANIFEST, &manifest).await;
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!([]));
}

/// Docker's catalogue, in pages.
#[tokio::test]
async fn repositories_are_listed_in_pages() {
    let registry = Running::start().await;
    for name in ["b", "a/b", "a", "a-b", "a/b/c"] {
        tagged(&registry, name, &["v1"]).await;
    }
    registry.push_blob("only/blobs", b"x").await;
    let all: Vec<Value> = pages(&registry, "/v2/_catalog?n=2", "repositories").await.concat();
    assert_eq!(all, ["a", "a-b", "a/b", "a/b/c", "b"].map(Value::from));
}

/// A manifest that speaks about `subject`.
async fn refer(registry: &Running, subject: Digest, more: Value) -> (Digest, usize) {
    let mut fields = json!({ "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 } });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let manifest = registry.image("a", "x", fields).await;
    let digest = Digest::sha256_of(&manifest);
    assert_eq!(registry.push_manifest("a", &digest.to_string(), OCI_MANIFEST, &manifest).await.status, 201);
    (digest, manifest.len())
}

/// "Listing Referrers", end-12a: an index; type and annotations of each; the config's type where there is no artifact type.
#[tokio::test]
async fn referrers_are_listed_with_type_and_annotations() {
    let registry = Running::start().await;
    let (subject, _) = registry.push_image("a", "v1", "app").await;
    let (sbom, sbom_size) = refer(&registry, subject, json!({ "artifactType": "application/sbom", "annotations": { "k": "v" } })).await;
    let (plain, plain_size) = refer(&registry, subject, json!({ "artifactType": "" })).await;
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 } });
    let index = index.to_string().into_bytes();
    let answer = registry.push_manifest("a", "list", OCI_INDEX, &index).await;
    assert_eq!((answer.status, answer.header("oci-subject")), (201, subject.to_string().as_str()));

    let answer = registry.get(&format!("/v2/a/referrers/{subject}")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, OCI_INDEX));
    let mut expected = vec![
        json!({ "mediaType": OCI_MANIFEST, "digest": sbom, "size": sbom_size, "annotations": { "k": "v" }, "artifactType": "application/sbom" }),
        json!({ "mediaType": OCI_MANIFEST, "digest": plain, "size": plain_size, "artifactType": OCI_CONFIG }),
        json!({ "mediaType": OCI_INDEX, "digest": Digest::sha256_of(&index), "size": index.len() }),
    ];
    expected.sort_by_key(|one| one["digest"].as_str().unwrap().to_owned());
    assert_eq!(answer.json(), json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": expected }));
    assert_eq!(answer.header("oci-filters-applied"), "");
}

/// "Listing Referrers", end-12b: filtered, and said so.
#[tokio::test]
async fn referrers_are_filtered_by_type() {
    let registry = Running::start().await;
    let subject = Digest::sha256_of(b"subject");
    refer(&registry, subject, json!({ "artifactType": "application/sbom" })).await;
    let (signature, _) = refer(&registry, subject, json!({ "artifactType": "application/vnd.sig+json" })).await;
    let answer = registry.get(&format!("/v2/a/referrers/{subject}?artifactType=application%2Fvnd.sig%2Bjson")).await;
    assert_eq!(answer.header("oci-filters-applied"), "artifactType");
    let manifests = answer.json()["manifests"].as_array().unwrap().clone();
    assert_eq!((manifests.len(), &manifests[0]["digest"]), (1, &json!(signature)));
    let none = registry.get(&format!("/v2/a/referrers/{subject}?artifactType=other")).await;
    assert_eq!((none.json()["manifests"].clone(), none.header("oci-filters-applied")), (json!([]), "artifactType"));
}

/// "Listing Referrers": never 404; 400 for what is no digest.
#[tokio::test]
async fn nobody_refers_to_the_unknown() {
    let registry = Running::start().await;
    let answer = registry.get(&format!("/v2/no/such/referrers/{}", Digest::sha256_of(b"?"))).await;
    assert_eq!((answer.status, answer.json()["manifests"].clone()), (200, json!([])));
    assert_eq!(registry.get("/v2/a/referrers/sha256:x").await.refusal(), refused(400, "DIGEST_INVALID"));
}

/// "Listing Referrers": a deleted manifest no longer speaks.
#[tokio::test]
async fn a_deleted_referrer_is_not_listed() {
    let registry = Running::start().await;
    let subject = Digest::sha256_of(b"subject");
    let (digest, _) = refer(&registry, subject, json!({})).await;
    assert_eq!(registry.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "").await.status, 202);
    assert_eq!(registry.get(&format!("/v2/a/referrers/{subject}")).await.json()["manifests"], json!([]));
}

/// "Listing Referrers": a `Link` when one answer cannot hold all; every page keeps the filter.
#[tokio::test]
async fn referrers_are_listed_in_pages() {
    let registry = Running::start().await;
    let subject = Digest::sha256_of(b"subject");
    for number in 0..5 {
        refer(&registry, subject, json!({ "artifactType": "t", "annotations": { "n": number.to_string() } })).await;
    }
    let found = pages(&registry, &format!("/v2/a/referrers/{subject}?n=2&artifactType=t"), "manifests").await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    // Large annotations end a page early, too.
    for number in 0..3 {
        refer(&registry, subject, json!({ "artifactType": "big", "annotations": { "n": format!("{number}{}", "x".repeat(1_500_000)) } }))
            .await;
    }
    let found = pages(&registry, &format!("/v2/a/referrers/{subject}?artifactType=big"), "manifests").await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
}
