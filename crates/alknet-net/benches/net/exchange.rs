//! What is done over a stream, whoever carries it: the first byte says what.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

const ECHO: u8 = b'e';
const PUSH: u8 = b'u';
const PULL: u8 = b'd';

const CHUNK_BYTES: usize = 128 * 1024;
const ECHOES_IN_A_TURN: u64 = 500;

/// The serving side. Ends with the stream, whatever becomes of it.
pub async fn serve(mut io: impl Duplex) {
    let _ended = async {
        loop {
            match io.read_u8().await? {
                ECHO => {
                    let byte = io.read_u8().await?;
                    io.write_u8(byte).await?;
                    io.flush().await?;
                }
                PUSH => {
                    let bytes = io.read_u64().await?;
                    discard(&mut io, bytes).await?;
                    io.write_u8(PUSH).await?;
                    io.flush().await?;
                }
                _ => {
                    let bytes = io.read_u64().await?;
                    produce(&mut io, bytes).await?;
                }
            }
        }
        #[allow(unreachable_code, reason = "it says the type of the block")]
        Ok::<(), std::io::Error>(())
    }
    .await;
}

/// Sends `bytes` and waits until the other side has them all.
pub async fn push(mut io: Box<dyn Duplex>, bytes: u64) -> Duration {
    let begun = Instant::now();
    order(&mut io, PUSH, bytes).await;
    produce(&mut io, bytes).await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), PUSH);
    begun.elapsed()
}

/// Asks for `bytes` and reads them.
pub async fn pull(mut io: Box<dyn Duplex>, bytes: u64) -> Duration {
    let begun = Instant::now();
    order(&mut io, PULL, bytes).await;
    io.flush().await.unwrap();
    discard(&mut io, bytes).await.unwrap();
    begun.elapsed()
}

/// Microseconds of each echo of one byte.
pub async fn echoes(io: &mut Box<dyn Duplex>) -> Vec<f64> {
    let mut took = Vec::new();
    for n in 0..ECHOES_IN_A_TURN {
        let begun = Instant::now();
        echo_once(io, n as u8).await;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    took
}

/// Sends a byte and reads it back.
pub async fn echo_once(io: &mut Box<dyn Duplex>, byte: u8) {
    io.write_all(&[ECHO, byte]).await.unwrap();
    io.flush().await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), byte);
}

async fn order(io: &mut Box<dyn Duplex>, what: u8, bytes: u64) {
    let mut order = vec![what];
    order.extend_from_slice(&bytes.to_be_bytes());
    io.write_all(&order).await.unwrap();
}

async fn produce(io: &mut impl Duplex, bytes: u64) -> std::io::Result<()> {
    let chunk = vec![0x5a; CHUNK_BYTES];
    let mut left = bytes as usize;
    while left > 0 {
        let part = left.min(CHUNK_BYTES);
        io.write_all(&chunk[..part]).await?;
        left -= part;
    }
    io.flush().await
}

async fn discard(io: &mut impl Duplex, bytes: u64) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        match io.read(&mut chunk).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => left -= read as u64,
        }
    }
    Ok(())
}
