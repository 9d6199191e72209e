//! The key exchange of a server with its own algorithms, and what reads packets that are sealed with its keys; the clock is virtual.
//!
//! The first byte says what the rest is, and how the client begins ([`Beginning`]). The keys need not be known: what a client seals with
//! others is what an attacker could send.

use std::sync::{Arc, LazyLock};

use alknet_ssh::SshServer;

use super::ssh_session::{converse, packet, payloads, server, text};

const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const KEX_INIT: u8 = 30;

const KEX: [&str; 2] = ["curve25519-sha256", "mlkem768x25519-sha256"];
const CIPHERS: [&str; 3] = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"];

static SERVER: LazyLock<Arc<SshServer>> = LazyLock::new(|| server(|_| {}));

/// What the rest of the bytes is.
#[derive(Clone, Copy)]
enum Rest {
    /// Packets behind a good KEXINIT.
    Packets,
    /// Packets, the first of them behind the number of a KEXINIT.
    Kexinit,
    /// Bytes behind a whole key exchange, where sealed packets are expected.
    Sealed,
}

/// How a client begins: 36 ways.
struct Beginning {
    rest: Rest,
    kex: usize,
    cipher: usize,
    strict: bool,
}

impl Beginning {
    fn of(byte: u8) -> Self {
        let byte = usize::from(byte);
        let rest = [Rest::Packets, Rest::Kexinit, Rest::Sealed][byte % 3];
        Self { rest, kex: byte / 3 % 2, cipher: byte / 6 % 3, strict: byte / 18 % 2 == 1 }
    }

    fn kexinit(&self) -> Vec<u8> {
        let marker = if self.strict { ",kex-strict-c-v00@openssh.com" } else { "" };
        let kex = format!("{}{marker}", KEX[self.kex]);
        let (cipher, mac) = (CIPHERS[self.cipher], "hmac-sha2-256-etm@openssh.com");
        let mut payload = vec![KEXINIT];
        payload.extend([0; 16]);
        for list in [&kex, "ssh-ed25519", cipher, cipher, mac, mac, "none", "none", "", ""] {
            payload.extend(text(list.as_bytes()));
        }
        payload.extend([0; 5]);
        payload
    }

    /// A share that is taken: the base point of Curve25519, behind an ML-KEM key of zeros where there is one.
    fn share(&self) -> Vec<u8> {
        let mut share = vec![0; [0, 1184][self.kex]];
        share.extend([9]);
        share.extend([0; 31]);
        [&[KEX_INIT][..], &text(&share)].concat()
    }

    fn script(&self, rest: &[u8]) -> Vec<u8> {
        let mut script = b"SSH-2.0-fuzz\r\n".to_vec();
        if !matches!(self.rest, Rest::Kexinit) {
            packet(&mut script, &self.kexinit());
        }
        if matches!(self.rest, Rest::Sealed) {
            packet(&mut script, &self.share());
            packet(&mut script, &[NEWKEYS]);
            script.extend(rest);
            return script;
        }
        for (at, payload) in payloads(rest).into_iter().enumerate() {
            match (at, self.rest) {
                (0, Rest::Kexinit) => packet(&mut script, &[&[KEXINIT][..], payload].concat()),
                _ => packet(&mut script, payload),
            }
        }
        script
    }
}

pub fn ssh_kex(data: &[u8]) {
    let Some((&beginning, rest)) = data.split_first() else { return };
    converse(&SERVER, Beginning::of(beginning).script(rest));
}

/// Every beginning is one that the server takes: otherwise nothing would be reached behind it.
#[test]
fn every_share_is_taken_and_keys_are_in_force() {
    for byte in 0..36 {
        let beginning = Beginning::of(byte);
        let frame = |payload: &[u8]| [&u16::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat();
        let rest = match beginning.rest {
            Rest::Packets => frame(&beginning.share()),
            Rest::Kexinit => [frame(&beginning.kexinit()[1..]), frame(&beginning.share())].concat(),
            Rest::Sealed => Vec::new(),
        };
        let kinds = super::ssh_session::kinds(&converse(&SERVER, beginning.script(&rest)));
        assert_eq!(kinds.get(..3), Some(&[KEXINIT, 31, NEWKEYS][..]), "{byte}: {kinds:?}");
    }
}
