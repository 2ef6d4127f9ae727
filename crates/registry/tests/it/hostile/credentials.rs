//! S-506: whose credentials go where, and tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use shipway_model::{Classified as _, ErrorKind, Secret};
use shipway_registry::{Access, Credentials, Error, HostSettings, Hosts, Registry, Scope, TokenCache, Transport, TransportConfig, login};
use shipway_testkit::{Asked, BadRegistry, Delivery, Identity, Reply, Special};

use super::{BASIC, leaked, registry, settings, somebody, trusting, with};

fn challenge(realm: &str) -> Reply {
    Reply::refusal(401, "UNAUTHORIZED", "authentication required")
        .with("WWW-Authenticate", &format!("Bearer realm=\"{realm}\",service=\"reg.test\",scope=\"repository:a/b:pull\""))
}

fn token(text: &str) -> Reply {
    Reply::new(200, format!("{{\"token\":\"{text}\",\"expires_in\":300}}"))
}

/// A registry that wants a token of `realm` (a path here, or an address) and is its own token server at `/token`.
fn token_registry(realm: &str) -> BadRegistry {
    let realm = realm.to_owned();
    BadRegistry::plain(move |asked, _| {
        if asked.path() == "/token" {
            return token("T1");
        }
        match asked.header("authorization") {
            Some("Bearer T1") => Reply::new(200, "ok"),
            _ if realm == "/token" => challenge(&format!("http://{}{realm}", asked.header("host").unwrap())),
            _ => challenge(&realm),
        }
    })
}

async fn get(registry: &Registry) -> Result<u16, Error> {
    registry.get("a/b/manifests/x", &Scope::pull("a/b"), &HeaderMap::new()).await.map(|answer| answer.status.as_u16())
}

fn requests_for_tokens(server: &BadRegistry) -> Vec<Asked> {
    server.asked().into_iter().filter(|asked| asked.path() == "/token").collect()
}

#[tokio::test]
async fn a_token_is_got_as_nobody_and_as_somebody_and_kept() {
    let server = token_registry("/token");
    let cache = TokenCache::default();
    for (access, authorization) in
        [(Access::with_cache(None, &cache), None), (Access::with_cache(Some(somebody()), &cache), Some(format!("Basic {BASIC}")))]
    {
        for _ in 0..3 {
            assert_eq!(get(&registry(&server, &access)).await.unwrap(), 200);
        }
        let asked = requests_for_tokens(&server).pop().unwrap();
        assert_eq!(asked.header("authorization"), authorization.as_deref());
        let account = if authorization.is_some() { "&account=user" } else { "" };
        assert_eq!(asked.target, format!("/token?service=reg.test&scope=repository%3Aa%2Fb%3Apull{account}"));
    }
    assert_eq!(requests_for_tokens(&server).len(), 2);
    // Another operation of the same person finds the token; the password goes to the token server only.
    assert_eq!(get(&registry(&server, &Access::with_cache(Some(somebody()), &cache))).await.unwrap(), 200);
    assert_eq!(requests_for_tokens(&server).len(), 2);
    assert!(server.asked().iter().filter(|asked| asked.path() != "/token").all(|asked| !asked.whole().contains(BASIC)));
}

#[tokio::test]
async fn ten_layers_need_one_token() {
    let server = token_registry("/token");
    let registry = registry(&server, &Access::anonymous());
    let answers = futures_util::future::join_all((0..10).map(|_| get(&registry))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(200))), "{answers:?}");
    assert_eq!(requests_for_tokens(&server).len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_fetched_anew_but_not_for_ever() {
    // Never content: the second token in a row is not asked for.
    let server = BadRegistry::plain(|asked, _| {
        if asked.path() == "/token" { token("T1") } else { challenge(&format!("http://{}/token", asked.header("host").unwrap())) }
    });
    assert_eq!(get(&registry(&server, &Access::anonymous())).await.unwrap(), 401);
    assert_eq!(requests_for_tokens(&server).len(), 1, "{:?}", server.lines());
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let server = token_registry("/token");
    let credentials = Credentials { identity_token: Some(Secret::new("ID&T0KEN")), ..Credentials::basic("", Secret::new("")) };
    assert_eq!(get(&registry(&server, &Access::with(credentials))).await.unwrap(), 200);
    let asked = requests_for_tokens(&server).pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", None));
    let body = "grant_type=refresh_token&refresh_token=ID%26T0KEN&service=reg.test&client_id=shipway&scope=repository%3Aa%2Fb%3Apull";
    assert_eq!(String::from_utf8(asked.body).unwrap(), body);
}

#[tokio::test]
async fn a_registry_token_is_shown_as_it_is() {
    let server = token_registry("/token");
    let credentials = Credentials { registry_token: Some(Secret::new("T1")), ..Credentials::basic("", Secret::new("")) };
    assert_eq!(get(&registry(&server, &Access::with(credentials))).await.unwrap(), 200);
    assert_eq!(server.connections(), 2, "https was tried, then one plain connection: {:?}", server.lines());
}

/// Each line: where the realm is, and what becomes of it.
#[tokio::test]
async fn credentials_go_to_no_foreign_token_server() {
    let thief = BadRegistry::start("127.0.0.2", None, |_, _| token("T1"));
    let identity = Identity::new("127.0.0.2", Special::Nothing);
    let secure_thief = BadRegistry::start("127.0.0.2", Some(&identity), |_, _| token("T1"));
    for (realm, words) in [
        (thief.url("/token"), "not secure"),
        (secure_thief.url("/token"), "does not belong to it"),
        (format!("http://user@127.0.0.2:{}/token", thief.port()), "password in its address"),
        ("ftp://127.0.0.2/token".to_owned(), "no address"),
        ("//127.0.0.2/token".to_owned(), "no address"),
        ("file:///etc/passwd".to_owned(), "no address"),
        (format!("http://127.0.0.1@127.0.0.2:{}/token", thief.port()), "password in its address"),
    ] {
        let server = token_registry(&realm);
        let config = TransportConfig { extra_roots: vec![identity.authority_pem.clone().into_bytes()], ..settings() };
        let error = get(&with(config, &server.domain(), &Access::with(somebody()))).await.unwrap_err();
        assert!(error.to_string().contains(words), "{realm}: {error}");
        assert!(!leaked(&[&server, &thief, &secure_thief]), "{realm}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    assert_eq!((thief.connections(), secure_thief.connections()), (0, 0));
}

#[tokio::test]
async fn a_foreign_token_server_is_asked_when_the_administrator_says_so_or_nobody_asks() {
    let identity = Identity::new("127.0.0.2", Special::Nothing);
    let other = BadRegistry::start("127.0.0.2", Some(&identity), |_, _| token("T1"));
    let config = || TransportConfig { extra_roots: vec![identity.authority_pem.clone().into_bytes()], ..settings() };
    let server = token_registry(&other.url("/token"));
    assert_eq!(get(&with(config(), &server.domain(), &Access::anonymous())).await.unwrap(), 200);
    assert!(!leaked(&[&server, &other]));
    assert_eq!(get(&with(config(), &server.domain(), &trusting(&["127.0.0.2"]))).await.unwrap(), 200);
    assert!(leaked(&[&other]) && !leaked(&[&server]));
}

#[tokio::test]
async fn nothing_is_sent_on_by_redirects() {
    let thief = BadRegistry::start("127.0.0.2", None, |_, _| Reply::new(200, "stolen"));
    // A registry that knows the user, and sends on.
    let location = thief.url("/x");
    let server = BadRegistry::plain(move |asked, _| match asked.header("authorization") {
        None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        Some(_) => Reply::to(&location).with("Set-Cookie", "a=T0KEN"),
    });
    assert_eq!(get(&registry(&server, &Access::with(somebody()))).await.unwrap(), 200);
    assert!(leaked(&[&server]) && !leaked(&[&thief]));
    assert_eq!((thief.asked()[0].header("authorization"), thief.asked()[0].header("cookie")), (None, None));
}

#[tokio::test]
async fn who_stands_behind_a_redirect_learns_nothing_by_asking() {
    for ask in ["Basic realm=x".to_owned(), "Bearer realm=\"http://127.0.0.2/token\"".to_owned()] {
        let thief = BadRegistry::start("127.0.0.2", None, move |_, _| Reply::new(401, "").with("WWW-Authenticate", &ask));
        let location = thief.url("/x");
        let server = BadRegistry::plain(move |_, _| Reply::to(&location));
        assert_eq!(get(&registry(&server, &Access::with(somebody()))).await.unwrap(), 401);
        assert!(!leaked(&[&server, &thief]));
        assert_eq!(thief.lines().len(), 1);
    }
}

#[tokio::test]
async fn a_token_server_that_redirects_an_identity_token_gets_no_second_request() {
    let thief = BadRegistry::start("127.0.0.2", None, |_, _| token("T1"));
    let location = thief.url("/token");
    let server = BadRegistry::plain(move |asked, _| {
        if asked.path() == "/token" { Reply::to(&location) } else { challenge(&format!("http://{}/token", asked.header("host").unwrap())) }
    });
    let credentials = Credentials { identity_token: Some(Secret::new("T0KEN")), ..Credentials::basic("", Secret::new("")) };
    let error = get(&registry(&server, &Access::with(credentials))).await.unwrap_err();
    assert!(error.to_string().contains("it redirects where credentials are not sent on"), "{error}");
    assert_eq!(thief.connections(), 0);
}

/// Each line: an answer of the token server, and the kind and words of what becomes of it.
#[tokio::test]
async fn answers_that_no_token_can_be_made_of() {
    let long = format!("{{\"token\":\"{}\"}}", "x".repeat(33 * 1024));
    let cases: Vec<(Reply, ErrorKind, &str)> = vec![
        (Reply::new(200, "{}"), ErrorKind::Unavailable, "its answer has no token"),
        (Reply::new(200, "{\"token\":\"\"}"), ErrorKind::Unavailable, "its answer has no token"),
        (Reply::new(200, "{\"token\":\"a\\r\\nX-Evil: 1\"}"), ErrorKind::Unavailable, "characters that no header may have"),
        (Reply::new(200, long), ErrorKind::Unavailable, "its token is larger than 32768 bytes"),
        (Reply::new(200, "<html>"), ErrorKind::Unavailable, "its answer is no token: line 1, column 1"),
        (Reply::new(200, "[1]"), ErrorKind::Unavailable, "its answer is no token"),
        (Reply::new(200, vec![0x1f, 0x8b, 8, 0]).with("Content-Encoding", "gzip"), ErrorKind::Unavailable, "its answer is no token"),
        (Reply::new(200, vec![b' '; 300 * 1024]), ErrorKind::Exhausted, "larger than 262144 bytes"),
        (Reply::new(200, vec![b' '; 4096]).by(Delivery::Endless(1 << 30)), ErrorKind::Exhausted, "larger than 262144 bytes"),
        (Reply::new(200, "{\"token\":\"x\"}").by(Delivery::Truncated(3)), ErrorKind::Unavailable, "broke"),
        (Reply::new(200, "{\"token\":\"x\"}").by(Delivery::Hanging(3)), ErrorKind::Unavailable, "within 700 ms"),
        (Reply::new(200, vec![b' '; 400]).by(Delivery::Dripping(1, Duration::from_millis(50))), ErrorKind::Unavailable, "within 1400 ms"),
        (
            Reply::refusal(401, "UNAUTHORIZED", "incorrect username or password"),
            ErrorKind::Unauthenticated,
            "unauthorized: incorrect username or password",
        ),
        (Reply::new(403, "{\"details\":\"blocked\"}"), ErrorKind::Forbidden, "blocked"),
        (Reply::new(503, ""), ErrorKind::Unavailable, "503"),
        (Reply::new(429, "").with("Retry-After", "3600"), ErrorKind::Unavailable, "429"),
        (Reply::new(200, "").by(Delivery::HungUp), ErrorKind::Unavailable, "broke"),
    ];
    let work = cases.into_iter().map(|(reply, kind, words)| async move {
        let shown = format!("{reply:?}").chars().take(80).collect::<String>();
        let server = BadRegistry::plain(move |asked, _| {
            if asked.path() == "/token" { reply.clone() } else { challenge(&format!("http://{}/token", asked.header("host").unwrap())) }
        });
        let error = get(&registry(&server, &Access::with(somebody()))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown}: {error:?}");
        assert!(error.to_string().contains(words), "{shown}: {error}");
        assert!(server.sent() < 32 << 20, "{shown}: {} bytes were taken", server.sent());
    });
    futures_util::future::join_all(work).await;
}

#[tokio::test]
async fn a_token_server_in_passing_trouble_is_asked_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let server = BadRegistry::plain(move |asked, _| match (asked.path(), asked.header("authorization")) {
        ("/token", _) if count.fetch_add(1, Ordering::Relaxed) < 2 => Reply::new(503, ""),
        ("/token", _) => token("T1"),
        (_, Some("Bearer T1")) => Reply::new(200, ""),
        _ => challenge(&format!("http://{}/token", asked.header("host").unwrap())),
    });
    assert_eq!(get(&registry(&server, &Access::anonymous())).await.unwrap(), 200);
    assert_eq!(requests_for_tokens(&server).len(), 3);
}

/// Each line: a challenge, and the status or words that come of it.
#[tokio::test]
async fn strange_challenges_end() {
    for (challenge, expected) in [
        ("Negotiate", Err("the authentication \"Negotiate\" that the registry asks for is not supported yet")),
        ("Digest realm=x, nonce=\"y\"", Err("the authentication \"Digest\"")),
        ("", Ok(401)),
        ("Bearer", Ok(401)),
        ("Bearer realm=", Ok(401)),
        ("Basic", Ok(401)),
    ] {
        let server = BadRegistry::plain(move |_, _| Reply::new(401, "").with("WWW-Authenticate", challenge));
        match (get(&registry(&server, &Access::with(somebody()))).await, expected) {
            (Ok(status), Ok(expected)) => assert_eq!(status, expected, "{challenge}"),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{challenge}: {error}"),
            (result, _) => panic!("{challenge}: {result:?}"),
        }
        assert!(server.lines().len() <= 2, "{challenge}: {:?}", server.lines());
    }
}

#[tokio::test]
async fn logging_in_says_who_was_right() {
    let right = |asked: &Asked| asked.header("authorization") == Some(&format!("Basic {BASIC}"));
    let basic = move |asked: &Asked, _: usize| {
        if right(asked) { Reply::new(200, "{}") } else { Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x") }
    };
    let tokens = move |asked: &Asked, _: usize| match (asked.path(), asked.header("authorization")) {
        ("/token", _) if right(asked) => Reply::new(200, "{\"access_token\":\"T1\",\"refresh_token\":\"ID\"}"),
        ("/token", _) => Reply::refusal(401, "UNAUTHORIZED", "incorrect username or password"),
        (_, Some("Bearer T1")) => Reply::new(200, "{}"),
        _ => Reply::new(401, "").with("WWW-Authenticate", &format!("Bearer realm=\"http://{}/token\"", asked.header("host").unwrap())),
    };
    let hosts = Hosts::new(&HostSettings::default()).unwrap();
    let transport = Transport::new(settings()).unwrap();
    let wrong = || Credentials::basic("user", Secret::new("no"));
    let server = BadRegistry::plain(basic);
    assert_eq!(login(&transport, &hosts, &server.domain(), somebody(), Vec::new()).await.unwrap(), None);
    let error = login(&transport, &hosts, &server.domain(), wrong(), Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("login attempt to http://{}/v2/ failed with status: 401 Unauthorized", server.domain()));
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);

    let server = BadRegistry::plain(tokens);
    assert_eq!(login(&transport, &hosts, &server.domain(), somebody(), Vec::new()).await.unwrap(), Some(Secret::new("ID")));
    assert_eq!(requests_for_tokens(&server)[0].target, "/token?offline_token=true&client_id=shipway&account=user");
    let error = login(&transport, &hosts, &server.domain(), wrong(), Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: incorrect username or password");

    let server = BadRegistry::plain(|_, _| Reply::new(404, "not here"));
    let error = login(&transport, &hosts, &server.domain(), somebody(), Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("is no registry"), "{error}");
}
