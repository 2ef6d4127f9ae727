use super::*;

fn bind(source: &str, target: &str) -> MountSpec {
    MountSpec::new(MountKind::Bind, Some(source.to_owned()), target)
}

fn volume(source: Option<&str>, target: &str) -> MountSpec {
    MountSpec::new(MountKind::Volume, source.map(str::to_owned), target)
}

#[test]
fn volume_flags() {
    let short = |mode: &str, spec: MountSpec| MountSpec { form: MountForm::Short, mode: mode.to_owned(), ..spec };
    for (text, expected) in [
        ("/data", short("", volume(None, "/data"))),
        ("cache:/var//cache/", short("", volume(Some("cache"), "/var/cache"))),
        (
            "cache:/var/cache:nocopy,ro",
            short("nocopy,ro", MountSpec { read_only: true, volume_no_copy: true, ..volume(Some("cache"), "/var/cache") }),
        ),
        ("/a:/b", short("", MountSpec { create_source: true, ..bind("/a", "/b") })),
        ("/a:/b:", short("", MountSpec { create_source: true, ..bind("/a", "/b") })),
        ("/a:/b/../c:ro,Z", short("ro,Z", MountSpec { create_source: true, read_only: true, ..bind("/a", "/c") })),
        ("/a:/b:slave", short("slave", MountSpec { create_source: true, propagation: Propagation::Slave, ..bind("/a", "/b") })),
        (
            "/a:/b:idmap,U",
            short("idmap,U", MountSpec { create_source: true, idmap: Some(IdMap::SourceOwner), change_owner: true, ..bind("/a", "/b") }),
        ),
        (
            "vv:/b:idmap=1000-100",
            short("idmap=1000-100", MountSpec { idmap: Some(IdMap::Ids { uid: 1000, gid: 100 }), ..volume(Some("vv"), "/b") }),
        ),
        (
            "/a:/b:rw,rshared",
            short("rw,rshared", MountSpec { create_source: true, propagation: Propagation::RecursiveShared, ..bind("/a", "/b") }),
        ),
    ] {
        assert_eq!(parse_volume_flag(text), Ok(expected), "{text}");
    }
}

#[test]
fn volume_flags_wrongly() {
    for (text, message) in [
        ("", "invalid volume specification: ''"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/a:", "invalid volume specification: '/a:'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/a:/b:or", "invalid mode: or"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:nocopy", "invalid mode: nocopy"),
        ("cache:/b:rshared", "field BindOptions must not be specified"),
        ("/a:/b:idmap=1000", "invalid id mapping: idmap=1000"),
        ("/a:/b:idmap=4294967295-1", "invalid id mapping: idmap=4294967295-1"),
        ("/a:/b:idmap,idmap", "invalid mode: idmap,idmap"),
        ("/a:b", "invalid mount path: 'b' mount path must be absolute"),
        ("/a:/", "invalid specification: destination can't be '/'"),
        ("/a:/b/..", "invalid specification: destination can't be '/'"),
        ("c:/b", "volume name is too short, names should be at least two alphanumeric characters"),
    ] {
        assert_eq!(parse_volume_flag(text).map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
    }
    let relative = parse_volume_flag("src/app:/b").unwrap_err();
    assert!(relative.to_string().starts_with("\"src/app\" includes invalid characters for a local volume name"), "{relative}");
    assert_eq!(relative.hint().as_deref(), Some("for a folder below the current one write \"$PWD/src/app\""));
}

#[test]
fn mount_flags() {
    for (text, expected) in [
        ("target=/data", volume(None, "/data")),
        ("type=bind,src=/a,dst=/b", bind("/a", "/b")),
        ("type=bind,source=/a,destination=/b,readonly", MountSpec { read_only: true, ..bind("/a", "/b") }),
        ("TYPE=Bind,src=/a,dst=/b,ro=false,consistency=cached", bind("/a", "/b")),
        ("type=bind,src=/a,dst=/b,idmap", MountSpec { idmap: Some(IdMap::SourceOwner), ..bind("/a", "/b") }),
        ("type=bind,src=/a,dst=/b,idmap=7-8", MountSpec { idmap: Some(IdMap::Ids { uid: 7, gid: 8 }), ..bind("/a", "/b") }),
        ("type=bind,\"src=/a,b\",dst=/b", bind("/a,b", "/b")),
        ("type=bind,\"src=/a\"\"b\",dst=/b", bind("/a\"b", "/b")),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=disabled,bind-create-src",
            MountSpec { recursive: false, create_source: true, ..bind("/a", "/b") },
        ),
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=writable,bind-propagation=rslave",
            MountSpec {
                read_only: true,
                read_only_reach: ReadOnlyReach::TopOnly,
                propagation: Propagation::RecursiveSlave,
                ..bind("/a", "/b")
            },
        ),
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate",
            MountSpec { read_only: true, read_only_reach: ReadOnlyReach::Everything, ..bind("/a", "/b") },
        ),
        (
            "src=cache,dst=/b,volume-nocopy,volume-subpath=x/y,volume-driver=local,volume-label=a=b=c,volume-label=d,volume-opt=type=nfs",
            MountSpec {
                volume_no_copy: true,
                volume_subpath: Some("x/y".to_owned()),
                volume_driver: Some("local".to_owned()),
                volume_labels: BTreeMap::from([("a".to_owned(), "b=c".to_owned()), ("d".to_owned(), String::new())]),
                volume_driver_options: BTreeMap::from([("type".to_owned(), "nfs".to_owned())]),
                ..volume(Some("cache"), "/b")
            },
        ),
        (
            "type=tmpfs,dst=/run,tmpfs-size=64m,tmpfs-mode=1777",
            MountSpec { tmpfs_size: Some(64 << 20), tmpfs_mode: Some(0o1777), ..MountSpec::new(MountKind::Tmpfs, None, "/run") },
        ),
        (
            "type=image,src=busybox,dst=/b,image-subpath=bin",
            MountSpec {
                read_only: true,
                image_subpath: Some("bin".to_owned()),
                ..MountSpec::new(MountKind::Image, Some("busybox".to_owned()), "/b")
            },
        ),
    ] {
        assert_eq!(parse_mount_flag(text), Ok(expected), "{text}");
    }
}

#[test]
fn mount_flags_wrongly() {
    for (text, message, hint) in [
        ("type=bind,src=/a", "target is required", Some("say where it appears in the container: target=/path")),
        ("type=bnid,dst=/b", "invalid mount type: bnid", Some("did you mean \"bind\"?")),
        ("type=bind,dst=/b", "invalid mount config for type \"bind\": field Source must not be empty", None),
        ("type=tmpfs,src=/a,dst=/b", "invalid mount config for type \"tmpfs\": field Source must not be specified", None),
        ("dst=/b,", "invalid field '' must be a key=value pair", None),
        ("dst=/b,source", "invalid field 'source' must be a key=value pair", None),
        ("dst=/b,sorce=x", "unexpected key 'sorce' in 'sorce=x'", Some("did you mean \"source\"?")),
        ("dst=/b,ro=maybe", "invalid value for ro: maybe", Some("true or false is expected")),
        ("type=bind,src=/a,dst=/b,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'", None),
        ("dst=/b,bind-propagation=rslave", "cannot mix 'bind-*' options with mount type 'volume'", None),
        ("type=tmpfs,dst=/b,tmpfs-size=big", "invalid value for tmpfs-size: big", Some("a size like 64m is expected")),
        ("type=tmpfs,dst=/b,tmpfs-mode=8", "invalid value for tmpfs-mode: 8", Some("an octal mode like 1777 is expected")),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
            None,
        ),
        ("dst=/b,a\"b", "invalid mount option: a quote is out of place at position 8", None),
        ("\"dst=/b", "invalid mount option: a quote is out of place at position 0", None),
    ] {
        let error = parse_mount_flag(text).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (message, hint), "{text}");
    }
}

#[test]
fn tmpfs_flags() {
    let expected = MountSpec {
        read_only: true,
        tmpfs_size: Some(64 << 20),
        tmpfs_mode: Some(0o700),
        tmpfs_options: vec!["noexec".to_owned(), "uid=1000".to_owned()],
        form: MountForm::Tmpfs,
        ..MountSpec::new(MountKind::Tmpfs, None, "/run")
    };
    assert_eq!(parse_tmpfs_flag("/run:ro,noexec,size=64m,mode=700,uid=1000"), Ok(expected));
    assert_eq!(parse_tmpfs_flag("/run"), Ok(MountSpec { form: MountForm::Tmpfs, ..MountSpec::new(MountKind::Tmpfs, None, "/run") }));
    assert_eq!(parse_tmpfs_flag("/run:size=50%").unwrap().tmpfs_options, ["size=50%"]);
    let unknown = parse_tmpfs_flag("/run:noexce").unwrap_err();
    assert_eq!(
        (unknown.to_string().as_str(), unknown.hint().as_deref()),
        ("invalid tmpfs option [\"noexce\"]", Some("did you mean \"noexec\"?"))
    );
    for text in ["run", "/", "/run:size", "/run:uid=", "/run:upper=/etc", "/run:mode=99999"] {
        assert!(parse_tmpfs_flag(text).is_err(), "{text}");
    }
}

#[test]
fn json_reads_back_and_fills_in() {
    let mount = parse_mount_flag("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap();
    assert_eq!(serde_json::from_str::<MountSpec>(&serde_json::to_string(&mount).unwrap()).unwrap(), mount);
    assert_eq!(serde_json::from_str::<MountSpec>(r#"{"target":"/b"}"#).unwrap(), volume(None, "/b"));
}
