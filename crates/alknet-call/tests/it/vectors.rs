//! `tests/vectors`: frames in hex, with what they mean, for other implementations too.

use std::{collections::BTreeMap, fs, path::PathBuf};

use alknet_call::{Envelope, FrameDecoder, limits::MAX_UNIDENTIFIED_FRAME_BYTES};
use data_encoding::HEXLOWER;

fn vectors(kind: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(kind);
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text: String = fs::read_to_string(&path).unwrap().split_whitespace().collect();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), HEXLOWER.decode(text.as_bytes()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

fn decode(bytes: &[u8]) -> Result<Envelope, String> {
    let mut decoder = FrameDecoder::new(MAX_UNIDENTIFIED_FRAME_BYTES);
    decoder.push(bytes);
    let frame = decoder.next_frame().map_err(|error| error.to_string())?.ok_or("the frame is cut")?;
    if decoder.is_within_frame() {
        return Err("something follows the frame".to_owned());
    }
    Envelope::decode(&frame).map_err(|error| error.to_string())
}

// CALL-01 CALL-06 CALL-07 CALL-09
#[test]
fn good_frames_mean_what_their_names_say() {
    let vectors = vectors("ok");
    assert!(vectors.len() >= 20);
    for (name, bytes) in vectors {
        let kind = match decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}")) {
            Envelope::Requested(_) => "requested",
            Envelope::Batch { .. } => "batch",
            Envelope::Responded { .. } => "responded",
            Envelope::Completed { .. } => "completed",
            Envelope::Aborted { .. } => "aborted",
            Envelope::Credit { .. } => "credit",
            Envelope::Error { .. } => "error",
            Envelope::Hello { .. } => "hello",
        };
        assert!(name.starts_with(kind), "{name} is {kind}");
    }
}

// CALL-02 CALL-04 CALL-05 CALL-06 CALL-07 CALL-40
#[test]
fn bad_frames_are_refused_for_their_defect() {
    let vectors = vectors("bad");
    let refusals: BTreeMap<_, _> =
        vectors.iter().map(|(name, bytes)| (name.as_str(), decode(bytes).expect_err(name))).collect();
    let expected = include_str!("../vectors/bad_errors.txt");
    let listed: BTreeMap<_, _> =
        expected.lines().filter_map(|line| line.split_once(": ")).map(|(name, why)| (name, why.to_owned())).collect();
    assert_eq!(refusals, listed);
}
