//! Runs a broker until it is killed: `serve [PORT [DIR]]`. For trying clients against it.

use millstream_broker::{Broker, BrokerConfig};

fn main() -> Result<(), millstream_core::Error> {
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    let dir = args.next().map(Into::into);
    let broker = Broker::start(BrokerConfig { port, dir, ..BrokerConfig::default() })?;
    println!("listens on {}", broker.bootstrap_servers());
    loop {
        std::thread::park();
    }
}
