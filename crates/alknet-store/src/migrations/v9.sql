-- Extended attributes are charged: what each bucket holds is counted anew.
UPDATE fs_bucket SET used_bytes = coalesce((
    SELECT sum(iif(changed & 1, size, 0) + coalesce(length(xattrs), 0))
    FROM fs_branch JOIN fs_inode ON fs_inode.branch = fs_branch.id WHERE fs_branch.bucket = fs_bucket.id), 0);
