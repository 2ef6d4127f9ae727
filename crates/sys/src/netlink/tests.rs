use super::*;

#[test]
fn messages_are_padded_and_their_lengths_hold() {
    let mut request = Request::new();
    request.message("one", 16, CREATE, &[0; 16]);
    request.text(3, "abc");
    request.nest(18, |info| info.attribute(1, &[7]));
    request.message("two", 17, 0, &[0; 16]);
    let bytes = request.finished().to_vec();
    let messages: Vec<(u16, usize)> = Messages(&bytes).map(|message| (message.kind, message.body.len())).collect();
    assert_eq!(messages, [(16, 16 + 8 + 4 + 8), (17, 16)]);
    let first = Messages(&bytes).next().unwrap();
    let attributes: Vec<(u16, Vec<u8>)> = Attributes(&first.body[16..]).map(|(kind, value)| (kind, value.to_vec())).collect();
    assert_eq!(attributes[0], (3, b"abc\0".to_vec()));
    assert_eq!(Attributes(&attributes[1].1).next(), Some((1, &[7u8][..])));
}

#[test]
fn replies_with_lying_lengths_end_the_walk() {
    for length in [0u32, 3, 15, 17, 4000, u32::MAX] {
        let mut bytes = vec![0u8; 16];
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(Messages(&bytes).count(), 0, "{length}");
    }
    for length in [0u16, 3, 9, u16::MAX] {
        let mut bytes = vec![0u8; 8];
        bytes[..2].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(Attributes(&bytes).count(), 0, "{length}");
    }
}

#[test]
fn the_loopback_is_listed_without_privileges() {
    let socket = Socket::open(Family::Route).unwrap();
    let lo = socket.link("lo").unwrap().unwrap();
    assert!(socket.links().unwrap().contains(&lo));
    assert!(socket.addresses().unwrap().iter().any(|own| own.link == lo.index));
    assert_eq!(socket.link("no-such-link").unwrap(), None);
    assert!(socket.routes().is_ok());
}
