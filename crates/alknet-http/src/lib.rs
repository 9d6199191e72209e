//! HTTP/1.1 and HTTP/2 on the web face: health, front page, decoy.
