use alknet_fs::{
    ContentHash,
    rows::upload::{self, UploadRow},
};

use crate::fixture;

#[test]
fn the_rows_of_uploads_count_what_is_promised_and_are_found_by_who_sends_and_since_when() {
    // SESS-50
    let sql = fixture::tables();
    let bucket = fixture::bucket(&sql);
    let branch = fixture::branch(&sql, bucket, "main", None);
    let row = |id: u8, actor: &str, size: u64, touched_ms: u64| UploadRow {
        id: [id; 16],
        bucket,
        branch,
        path: b"/\xff".to_vec(),
        hash: ContentHash::of(&[id]),
        size,
        actor: actor.to_owned(),
        made_ms: 1,
        touched_ms,
    };
    let rows = [row(1, "ann", 10, 100), row(2, "bob", 5, 200), row(3, "ann", 1, 300)];
    for row in &rows {
        upload::insert(&sql, row).unwrap();
    }
    assert_eq!(upload::get(&sql, &[2; 16]).unwrap().as_ref(), Some(&rows[1]));
    assert_eq!(upload::promised(&sql, bucket).unwrap(), 16);
    assert_eq!(upload::of_actor(&sql, "ann").unwrap().len(), 2);
    assert_eq!(upload::ids(&sql).unwrap().len(), 3);
    upload::touch(&sql, &[1; 16], 400).unwrap();
    assert_eq!(upload::forsaken(&sql, 300, 10).unwrap(), [rows[1].clone()]);
    assert!(upload::remove(&sql, &[2; 16]).unwrap() && !upload::remove(&sql, &[2; 16]).unwrap());
    upload::insert(&sql, &row(4, "eve", i64::MAX.unsigned_abs(), 1)).unwrap();
    upload::insert(&sql, &row(5, "eve", i64::MAX.unsigned_abs(), 1)).unwrap();
    assert_eq!(upload::promised(&sql, bucket).unwrap(), i64::MAX.unsigned_abs(), "no sum overflows");
}
