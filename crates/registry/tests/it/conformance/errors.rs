//! "Error Codes": the form of refusals, and addresses that are none.

use crate::serving::{Running, refused};
use shipway_model::Digest;

/// code-8: names outside the grammar, escaped or not, reach no file.
#[tokio::test]
async fn names_outside_the_grammar_are_refused() {
    let registry = Running::start().await;
    for name in ["A", "a/../b", "..", "a%2fb", "a%2F..%2Fb", "a//b", "-a", "a__-b", "%61", "a%00"] {
        for path in
            [format!("/v2/{name}/tags/list"), format!("/v2/{name}/manifests/v1"), format!("/v2/{name}/blobs/{}", Digest::sha256_of(b""))]
        {
            assert_eq!(registry.get(&path).await.refusal(), refused(400, "NAME_INVALID"), "{path}");
        }
        let upload = registry.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "").await;
        assert_eq!(upload.refusal(), refused(400, "NAME_INVALID"), "{name}");
    }
}

/// code-4: thirty ways not to write a digest (S-507).
#[tokio::test]
async fn digests_outside_the_grammar_are_refused() {
    let registry = Running::start().await;
    let hex = "0".repeat(64);
    for digest in [
        "sha256:".to_owned(),
        "sha256:x".to_owned(),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("SHA256:{hex}"),
        format!("sha256:{}", "A".repeat(64)),
        format!("sha512:{hex}"),
        format!("md5:{}", &hex[..32]),
        format!("sha256%2f{hex}"),
        format!("sha256:..%2f{}", &hex[5..]),
    ] {
        let blob = registry.get(&format!("/v2/a/blobs/{digest}")).await;
        assert_eq!(blob.refusal(), refused(400, "DIGEST_INVALID"), "{digest}");
        let manifest = registry.get(&format!("/v2/a/manifests/{digest}")).await;
        assert_eq!(manifest.refusal(), refused(400, "DIGEST_INVALID"), "{digest}");
    }
}

/// "Error Codes": the JSON form, for whatever is refused; unknown addresses and methods.
#[tokio::test]
async fn refusals_have_the_form_of_the_specification() {
    let registry = Running::start().await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v2/a", 404),
        ("PUT", "/v2/", 405),
        ("POST", "/v2/a/manifests/v1", 405),
        ("PUT", "/v2/a/tags/list", 405),
        ("GET", "/v2/a/blobs/uploads/", 405),
        ("GET", "/v2/a/manifests/.x", 400),
        ("GET", "/v2/a/blobs/uploads/none", 404),
    ] {
        let answer = registry.send(method, path, &[], "").await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{method} {path}");
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        let code = errors[0]["code"].as_str().unwrap();
        assert!(errors.len() == 1 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{answer:?}");
        assert!(errors[0]["message"].is_string());
        assert_eq!(answer.header("allow").is_empty(), status != 405, "{method} {path}");
    }
}
