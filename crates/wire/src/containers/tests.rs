//! Answers captured from dockerd 20.10 must read and write back without losing or inventing a key; client bodies must read.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;

/// Reads a captured answer, writes it back, and compares everything except the keys named in `dropped`, which newer versions no longer write.
fn check_round_trip<T: DeserializeOwned + Serialize>(name: &str, text: &str, dropped: &[&str]) {
    let mut captured: Value = serde_json::from_str(text).unwrap();
    let typed: T = lenient::from_value(captured.clone()).unwrap();
    remove_keys(&mut captured, dropped);
    let mut written = serde_json::to_value(typed).unwrap();
    remove_keys(&mut written, dropped);
    assert_eq!(pretty(&written), pretty(&captured), "{name}");
}

/// Sorted text, so that a difference can be seen.
fn pretty(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let ordered: std::collections::BTreeMap<_, _> = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
                Value::Object(ordered.into_iter().collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    serde_json::to_string_pretty(&sorted(value)).unwrap()
}

fn remove_keys(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !keys.contains(&key.as_str()));
            map.values_mut().for_each(|value| remove_keys(value, keys));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| remove_keys(value, keys)),
        _ => {}
    }
}

#[test]
fn captured_container_answers_survive() {
    check_round_trip::<ContainerInspect>("inspect", include_str!("../../testdata/inspect.json"), &["KernelMemory", "KernelMemoryTCP"]);
    check_round_trip::<Vec<ContainerSummary>>("ps", include_str!("../../testdata/ps.json"), &[]);
    check_round_trip::<TopAnswer>("top", include_str!("../../testdata/top.json"), &[]);
    check_round_trip::<crate::exec::ExecInspect>("exec", include_str!("../../testdata/execinspect.json"), &[]);
}

#[test]
fn captured_image_answers_survive() {
    check_round_trip::<crate::images::ImageInspect>("image", include_str!("../../testdata/image.json"), &[]);
    check_round_trip::<Vec<crate::images::ImageSummary>>("images", include_str!("../../testdata/images.json"), &[]);
    check_round_trip::<Vec<crate::images::HistoryItem>>("history", include_str!("../../testdata/history.json"), &[]);
}

#[test]
fn captured_system_answers_survive() {
    check_round_trip::<crate::system::Info>("info", include_str!("../../testdata/info.json"), &[]);
    // dockerd 20.10 writes a null list here that newer ones leave out.
    check_round_trip::<crate::system::DiskUsage>("df", include_str!("../../testdata/df.json"), &["BuildCache"]);
    check_round_trip::<crate::networks::Network>("network", include_str!("../../testdata/network.json"), &[]);
    check_round_trip::<crate::volumes::VolumeList>("volumes", include_str!("../../testdata/volumes.json"), &[]);
}

#[test]
fn the_host_config_has_every_documented_field() {
    // Engine API 1.56 documents 69; three are written only when set, and two old ones may come from old clients.
    let full = HostConfig {
        annotations: Some(std::collections::BTreeMap::new()),
        storage_opt: Some(std::collections::BTreeMap::new()),
        tmpfs: Some(std::collections::BTreeMap::new()),
        sysctls: Some(std::collections::BTreeMap::new()),
        runtime: "r".to_owned(),
        mounts: Some(Vec::new()),
        init: Some(true),
        ..HostConfig::default()
    };
    assert_eq!(serde_json::to_value(full).unwrap().as_object().unwrap().len(), 69);
}

#[test]
fn a_docker_run_body_reads_into_its_three_parts() {
    let body = CreateBody::parse(
        br#"{"Hostname":"","Tty":false,"Env":null,"Cmd":["sleep","9"],"Image":"busybox:1","Volumes":{"/d":{}},"ExposedPorts":{"80/tcp":{}},
            "Entrypoint":"/bin/sh","Labels":{"a":"b"},"StopTimeout":3,
            "HostConfig":{"Binds":["/a:/b"],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}],"81/tcp":null},"RestartPolicy":{"Name":"always","MaximumRetryCount":0},
              "Memory":67108864,"PidsLimit":null,"OomKillDisable":false,"ShmSize":"1024","Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":10,"Mode":511}}]},
            "NetworkingConfig":{"EndpointsConfig":{"net":null}}}"#,
    )
    .unwrap();
    assert!(!body.is_empty);
    assert_eq!(body.config.entrypoint, Some(StringOrList(vec!["/bin/sh".to_owned()])));
    assert_eq!(body.config.stop_timeout, Some(3));
    assert_eq!(body.host_config.shm_size, 1024);
    assert_eq!(body.host_config.memory, 64 << 20);
    assert_eq!(body.host_config.port_bindings.as_ref().unwrap()["81/tcp"], None);
    assert_eq!(body.host_config.mounts.as_ref().unwrap()[0].tmpfs_options.as_ref().unwrap().mode, 0o777);
    assert_eq!(body.networking.endpoints_config.unwrap()["net"], None);
}

#[test]
fn an_empty_body_is_told_apart() {
    assert!(CreateBody::parse(b"{}").unwrap().is_empty);
    assert!(CreateBody::parse(br#"{"HostConfig":{"Memory":1}}"#).unwrap().is_empty);
    assert!(CreateBody::parse(b"[]").is_err());
}
