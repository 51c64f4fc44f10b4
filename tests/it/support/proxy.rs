//! A wire to a broker that can be cut, and that can lose the answer to a commit.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The request that ends a transaction.
const END_TXN: i16 = 26;

/// Carries what clients and a broker say to each other, until it is told not to.
pub struct Proxy {
    address: String,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    is_cut: AtomicBool,
    /// How long each answer is kept back, in milliseconds.
    delay_ms: AtomicU64,
    /// What becomes of the answer to a commit, and how many are carried before it.
    plan: Mutex<(Plan, usize)>,
    has_lost: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Plan {
    #[default]
    Carry,
    LoseAnswer,
    LoseAnswerAndCut,
}

impl Proxy {
    /// Listens at one port of loopback for what another one answers.
    pub fn start(at: u16, to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", at)).expect("the port that the broker names");
        let wire = Arc::new(Wire::default());
        let carried = Arc::clone(&wire);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without a broker the client is turned away, as by a broker that is down.
                if let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) {
                    Wire::join(&carried, client, broker);
                }
            }
        });
        Self { address: format!("127.0.0.1:{at}"), wire }
    }

    /// Returns the address to give to a client.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Cuts every connection and accepts none until it is mended.
    pub fn cut(&self) {
        self.wire.cut();
    }

    /// Keeps each answer back for so long, as a broker that is slow.
    pub fn delay(&self, by: Duration) {
        self.wire.delay_ms.store(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Carries again.
    pub fn mend(&self) {
        self.wire.is_cut.store(false, Ordering::SeqCst);
    }

    /// Lets so many commits pass, and the next one reach the broker, and cuts its connection instead of
    /// carrying the answer.
    pub fn lose_answer_after(&self, commits: usize) {
        self.wire.plan(Plan::LoseAnswer, commits);
    }

    /// As [`Proxy::lose_answer_after`], and cuts everything until it is mended.
    pub fn lose_answer_and_cut_after(&self, commits: usize) {
        self.wire.plan(Plan::LoseAnswerAndCut, commits);
    }

    /// Tells whether the answer was lost.
    pub fn has_lost(&self) -> bool {
        self.wire.has_lost.load(Ordering::SeqCst)
    }
}

impl Wire {
    fn join(wire: &Arc<Self>, client: TcpStream, broker: TcpStream) {
        let mut open = wire.open.lock().expect("the open connections");
        if wire.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let _ = (client.set_nodelay(true), broker.set_nodelay(true));
        let again = |stream: &TcpStream| stream.try_clone().expect("a second handle of a connection");
        open.extend([again(&client), again(&broker)]);
        let plan = Arc::new(Mutex::new(Plan::Carry));
        let (there, back) = ((again(&client), again(&broker)), (broker, client));
        let (asking, answering) = ((Arc::clone(wire), Arc::clone(&plan)), (Arc::clone(wire), plan));
        thread::spawn(move || asking.0.ask(there.0, there.1, &asking.1));
        thread::spawn(move || answering.0.answer(back.0, back.1, &answering.1));
    }

    /// Carries requests frame by frame, and notes when the answer to one is to be lost.
    fn ask(&self, mut client: TcpStream, mut broker: TcpStream, plan: &Mutex<Plan>) {
        while let Ok(frame) = frame(&mut client) {
            if frame.get(4..6) == Some(&END_TXN.to_be_bytes()[..]) {
                *plan.lock().expect("a plan") = self.next_plan();
            }
            if broker.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), broker.shutdown(Shutdown::Both));
    }

    /// Carries answers. A producer asks for nothing while its transaction ends, so what comes then is the answer.
    fn answer(&self, mut broker: TcpStream, client: TcpStream, plan: &Mutex<Plan>) {
        let (ahead, mut behind) = (client.try_clone().expect("a second handle of a connection"), client);
        let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
        // Answers keep their distance: one that waits makes the next wait no longer than itself does.
        let late = thread::spawn(move || {
            for (due, frame) in receive {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if behind.write_all(&frame).is_err() {
                    break;
                }
            }
        });
        while let Ok(frame) = frame(&mut broker) {
            let plan = *plan.lock().expect("a plan");
            if plan != Plan::Carry {
                let _ = ahead.shutdown(Shutdown::Both);
                if plan == Plan::LoseAnswerAndCut {
                    self.cut();
                }
                self.has_lost.store(true, Ordering::SeqCst);
                break;
            }
            let due = Instant::now() + Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
            if send.send((due, frame)).is_err() {
                break;
            }
        }
        drop(send);
        let _ = late.join();
        let _ = (ahead.shutdown(Shutdown::Both), broker.shutdown(Shutdown::Both));
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().expect("the open connections").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn plan(&self, plan: Plan, commits: usize) {
        self.has_lost.store(false, Ordering::SeqCst);
        *self.plan.lock().expect("a plan") = (plan, commits);
    }

    fn next_plan(&self) -> Plan {
        let mut plan = self.plan.lock().expect("a plan");
        match &mut *plan {
            (_, 0) => std::mem::take(&mut plan.0),
            (_, left) => {
                *left -= 1;
                Plan::Carry
            }
        }
    }
}

/// Reads four bytes of length and what they announce.
fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let size = u32::from_be_bytes(length) as usize;
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}
