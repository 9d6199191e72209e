//! `alknet connect`.

use std::io;

use alknet_core::Alpn;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Place;
use crate::{
    dialling::{Ask, Dialling},
    failure::Failure,
    node_client::{Trust, dial},
    standard_streams::{StandardStreams, told_to_end},
    tunnels::CarrierChoice,
};

/// Bytes moved at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Connect standard input and output to a service of a node
///
/// Made for ProxyCommand, but anything that speaks over a pipe can use it.
///
/// Examples:
///   ssh -o ProxyCommand='alknet connect box alknet/ssh' me@box
///   alknet connect --carrier quic box.example:4433 alknet/ssh
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Connect {
    /// A peer name, node id, host:port or ticket
    node: String,
    /// The service's ALPN
    alpn: String,
    /// Use only this carrier
    #[arg(long, value_enum, default_value_t = CarrierChoice::Auto)]
    carrier: CarrierChoice,
    /// Take the key that answers, and remember it as a peer
    #[arg(long)]
    trust_on_first_use: bool,
}

impl Connect {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let alpn: Alpn = self.alpn.parse()?;
        let trust = Trust::from_flag(self.trust_on_first_use);
        let dialling = Dialling::patient(place, Ask::Never, self.carrier.into())?;
        let connection = dial(place, &dialling, &self.node, &alpn, trust).await?;
        let stream = connection.open_stream().await?;
        let (mut recv, mut send) = (stream.recv, stream.send);
        let StandardStreams { mut input, mut output, restored: _restored } = StandardStreams::take()?;
        // Standard input may be read by a thread that cannot be interrupted, so the end of what is received ends the command.
        let upwards = tokio::spawn(async move {
            let copied = copy(&mut input, &mut send).await;
            if copied.is_ok() {
                let _gone = send.shutdown().await;
                // Dropping the stream would reset it: stay until everything arrived.
                send.stopped().await;
            }
            copied
        });
        let received = tokio::select! {
            received = copy(&mut recv, &mut output) => received,
            told = told_to_end() => told,
        };
        upwards.abort();
        connection.close(0, b"");
        dialling.finish().await;
        received.map_err(|error| Failure::from(error).while_doing("the connection broke off"))
    }
}

/// Copies until the end, handing on what there is without waiting for more.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.flush().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
    }
}
