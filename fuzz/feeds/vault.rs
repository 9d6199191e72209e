//! The vault's parsers: whatever they accept, they write out as something that reads back the same.

use alknet_vault::{KeyFile, Keystore, Mnemonic, SealedBlob, SignedStatement};

pub fn mnemonic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(mnemonic) = Mnemonic::parse(text) {
        let phrase = mnemonic.phrase();
        let again = Mnemonic::parse(&phrase).expect("a printed phrase reads back");
        assert_eq!(*again.phrase(), *phrase);
    }
}

pub fn sealed_blob_json(data: &[u8]) {
    if let Ok(blob) = SealedBlob::from_json(data) {
        let text = blob.to_json();
        let again = SealedBlob::from_json(text.as_bytes()).expect("a printed blob reads back");
        assert_eq!(again.to_cbor(), blob.to_cbor());
    }
}

pub fn sealed_blob_cbor(data: &[u8]) {
    if let Ok(blob) = SealedBlob::from_cbor(data) {
        assert_eq!(blob.to_cbor(), data, "there is one encoding");
        assert!(SealedBlob::from_json(blob.to_json().as_bytes()).is_ok());
    }
}

pub fn keystore(data: &[u8]) {
    if let Ok(keystore) = Keystore::parse(data) {
        let text = keystore.to_json();
        let again = Keystore::parse(text.as_bytes()).expect("a printed keystore reads back");
        assert_eq!(again.to_json(), text);
    }
}

pub fn key_file(data: &[u8]) {
    if let Ok(key) = KeyFile::parse(data) {
        let text = key.to_text();
        let again = KeyFile::parse(text.as_bytes()).expect("a printed key file reads back");
        assert_eq!(*again.to_text(), *text);
    }
}

pub fn identity_statement(data: &[u8]) {
    if let Ok(signed) = SignedStatement::decode(data) {
        assert_eq!(signed.encode(), data, "there is one encoding");
        let _ = signed.verify(1_800_000_000);
    }
}
