//! SLIP-0010, BIP-32 and derivation paths against the official vectors.

use alknet_vault::{
    Bip32Error, DerivationPath, DeviceNumber, Ed25519Node, Epoch, KeyPurpose, PathStep, SealKeyId, SealPurpose,
    Secp256k1Node, Slip10Error,
};
use data_encoding::HEXLOWER;
use serde::Deserialize;

use crate::vectors;

#[derive(Deserialize)]
struct Tree<Link> {
    seed: String,
    chain: Vec<Link>,
}

#[derive(Deserialize)]
struct Ed25519Link {
    path: DerivedPath,
    chain_code: String,
    private: String,
    public: String,
}

#[derive(Deserialize)]
struct Secp256k1Link {
    path: DerivedPath,
    xprv: String,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct DerivedPath(DerivationPath);

impl TryFrom<String> for DerivedPath {
    type Error = alknet_vault::PathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

// VAULT-04: vectors 1 and 2 for ed25519 of SLIP-0010
#[test]
fn slip10_vectors() {
    let trees: Vec<Tree<Ed25519Link>> = vectors::json("ok/slip10/ed25519.json");
    assert_eq!(trees.iter().map(|tree| tree.chain.len()).collect::<Vec<_>>(), [6, 6]);
    for tree in trees {
        let master = Ed25519Node::master(&vectors::hex(&tree.seed));
        for link in tree.chain {
            let node = master.descend(&link.path.0).unwrap();
            assert_eq!(HEXLOWER.encode(&node.chain_code()[..]), link.chain_code);
            assert_eq!(HEXLOWER.encode(&node.secret_seed()[..]), link.private);
            assert_eq!(format!("00{}", HEXLOWER.encode(&node.public_key())), link.public);
        }
    }
}

// VAULT-05
#[test]
fn slip10_refuses_unhardened_steps() {
    let master = Ed25519Node::master(&[7; 64]);
    for number in [0, 1, 0x7fff_ffff] {
        let step = PathStep::plain(number).unwrap();
        assert_eq!(master.child(step).err(), Some(Slip10Error::NotHardened(step)));
    }
    assert_eq!(
        master.descend(&DerivationPath::ethereum()).err(),
        Some(Slip10Error::NotHardened(PathStep::plain(0).unwrap()))
    );
}

// VAULT-05
#[test]
fn steps_end_below_two_to_the_31() {
    assert_eq!(PathStep::hardened(0x7fff_ffff).unwrap().index(), u32::MAX);
    assert!(PathStep::hardened(0x8000_0000).is_none());
    assert!(PathStep::plain(0x8000_0000).is_none());
    assert!(Epoch::new(0x7fff_ffff).is_ok());
    assert!(Epoch::new(0x8000_0000).is_err());
    assert!(DeviceNumber::new(0).is_err());
    assert!(DeviceNumber::new(0x8000_0000).is_err());
    assert!(SealKeyId::new(SealPurpose::Backups, 0).is_err());
    assert!(SealKeyId::new(SealPurpose::Backups, 0x8000_0000).is_err());
}

// VAULT-06: test vectors 1 to 4 of BIP-32
#[test]
fn bip32_vectors() {
    let trees: Vec<Tree<Secp256k1Link>> = vectors::json("ok/bip32/secp256k1.json");
    assert_eq!(trees.iter().map(|tree| tree.chain.len()).collect::<Vec<_>>(), [6, 6, 2, 3]);
    for tree in trees {
        let master = Secp256k1Node::master(&vectors::hex(&tree.seed)).unwrap();
        for link in tree.chain {
            let node = master.descend(&link.path.0).unwrap();
            assert_eq!(node.to_xprv().as_str(), link.xprv);
            let parsed = Secp256k1Node::from_xprv(&link.xprv).unwrap();
            assert_eq!(parsed.to_xprv().as_str(), link.xprv);
            assert_eq!(parsed.public_key(), node.public_key());
        }
    }
}

// VAULT-07: test vector 5 of BIP-32
#[test]
fn bad_extended_keys_are_refused() {
    vectors::all_fail("xprv", |content| Secp256k1Node::from_xprv(std::str::from_utf8(content).unwrap().trim()));
}

#[test]
fn bip32_ends_at_depth_255() {
    let deepest = Secp256k1Node::master(&[7; 64]).unwrap();
    let step = PathStep::plain(0).unwrap();
    let deepest = (0..255).fold(deepest, |node, _| node.child(step).unwrap());
    assert_eq!(deepest.child(step).unwrap_err(), Bip32Error::TooDeep);
}

// VAULT-08
#[test]
fn paths_print_as_they_are_parsed() {
    for line in vectors::text("ok/path/paths.txt").lines() {
        assert_eq!(line.parse::<DerivationPath>().unwrap().to_string(), line);
    }
    assert_eq!("m/1h/2H".parse::<DerivationPath>().unwrap().to_string(), "m/1'/2'");
}

// VAULT-08
#[test]
fn bad_paths_are_refused() {
    vectors::all_fail("path", |content| std::str::from_utf8(content).unwrap().parse::<DerivationPath>());
}

// VAULT-09
#[test]
fn the_path_table() {
    let epoch = Epoch::new(3).unwrap();
    for (purpose, path) in [
        (KeyPurpose::Node, "m/74'/0'/0'/3'"),
        (KeyPurpose::SshHost, "m/74'/0'/1'/3'"),
        (KeyPurpose::SshUser, "m/74'/0'/2'/3'"),
        (KeyPurpose::Git, "m/74'/0'/3'/3'"),
        (KeyPurpose::Messaging, "m/74'/0'/4'/3'"),
        (KeyPurpose::Acme, "m/74'/0'/5'/3'"),
        (KeyPurpose::Root, "m/74'/0'/6'/0'"),
        (KeyPurpose::SshAuthority, "m/74'/0'/7'/3'"),
        (KeyPurpose::Device(DeviceNumber::new(9).unwrap()), "m/74'/1'/9'/3'"),
    ] {
        assert_eq!(purpose.path(epoch).to_string(), path);
    }
    for (purpose, path) in [
        (SealPurpose::VaultEntries, "m/74'/2'/0'/5'"),
        (SealPurpose::Backups, "m/74'/2'/1'/5'"),
        (SealPurpose::StoreAtRest, "m/74'/2'/2'/5'"),
    ] {
        assert_eq!(SealKeyId::new(purpose, 5).unwrap().path().to_string(), path);
    }
    assert_eq!(DerivationPath::ethereum().to_string(), "m/44'/60'/0'/0/0");
}
