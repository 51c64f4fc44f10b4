//! The calls of librdkafka that rust-rdkafka 0.39 does not wrap; the only unsafe code of the project.
//!
//! Each is here for one of four reasons: leader epochs have no accessor, `metadata()` and `headers()` of the
//! wrapper panic on what is not UTF-8, the wrapper's group metadata hides the generation, and it sets no
//! callback that hears why a certificate is refused.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

/// An element of a list of topic partitions.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// Negative where it is not an offset.
    pub offset: i64,
    /// -1 where it is not known.
    pub leader_epoch: i32,
    pub metadata: &'a [u8],
    pub error: Option<Code>,
}

/// The elements of a list.
pub fn entries(list: &TopicPartitionList) -> impl Iterator<Item = Entry<'_>> {
    let raw = list.ptr();
    (0..list.count()).map(move |index| {
        // SAFETY: the list owns `cnt` elements and lives as long as the entries; a topic is a C string, and
        // `metadata` points to `metadata_size` bytes unless it is null.
        unsafe {
            let element = (*raw).elems.add(index);
            Entry {
                topic: CStr::from_ptr((*element).topic).to_str().unwrap_or_default(),
                partition: (*element).partition,
                offset: (*element).offset,
                leader_epoch: rd::rd_kafka_topic_partition_get_leader_epoch(element),
                metadata: bytes((*element).metadata.cast(), (*element).metadata_size).unwrap_or_default(),
                error: code((*element).err),
            }
        }
    })
}

/// Sets the leader epoch of the element that was added last.
pub fn set_last_leader_epoch(list: &mut TopicPartitionList, leader_epoch: i32) {
    let Some(last) = list.count().checked_sub(1) else { return };
    // SAFETY: the list has `last + 1` elements and is borrowed exclusively.
    unsafe {
        let element = (*list.ptr()).elems.add(last);
        rd::rd_kafka_topic_partition_set_leader_epoch(element, leader_epoch);
    }
}

/// Writes what the application has been given of each partition into the list: the next offset and its
/// epoch, invalid where nothing was given since it was assigned or sought.
pub fn position<C: ClientContext>(client: &Client<C>, list: &TopicPartitionList) {
    // SAFETY: both pointers are valid for the call; the function only writes to the list's elements.
    unsafe { rd::rd_kafka_position(client.native_ptr(), list.ptr()) };
}

/// The leader epoch of a record, or -1.
pub fn leader_epoch(message: &BorrowedMessage<'_>) -> i32 {
    // SAFETY: the message is valid as long as it is borrowed.
    unsafe { rd::rd_kafka_message_leader_epoch(message.ptr()) }
}

/// Header names and values, without those whose name is not UTF-8.
pub fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(&'a str, Option<&'a [u8]>)> {
    let mut list = ptr::null_mut();
    let mut found = Vec::new();
    // SAFETY: the message owns its headers and outlives what is returned; a name is a C string and a value
    // has `size` bytes unless it is null.
    unsafe {
        if code(rd::rd_kafka_message_headers(message.ptr(), &mut list)).is_some() {
            return found;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        for index in 0..rd::rd_kafka_header_cnt(list) {
            rd::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size);
            if let Ok(name) = CStr::from_ptr(name).to_str() {
                found.push((name, bytes(value.cast(), size)));
            }
        }
    }
    found
}

/// Who a consumer is in its group: what fences a transaction's offsets.
pub struct GroupMetadata(*mut rd::rd_kafka_consumer_group_metadata_t);

// SAFETY: the metadata is a plain copy that belongs to nobody else.
unsafe impl Send for GroupMetadata {}

impl GroupMetadata {
    /// The metadata of this moment.
    pub fn of<C: ClientContext>(client: &Client<C>) -> Option<GroupMetadata> {
        // SAFETY: the client is alive; the caller owns what is returned.
        let raw = unsafe { rd::rd_kafka_consumer_group_metadata(client.native_ptr()) };
        (!raw.is_null()).then_some(GroupMetadata(raw))
    }

    /// Whether it names a member of a generation. Offsets without one are taken by the broker unchecked:
    /// `ClassicGroup.validateOffsetCommit` of Apache Kafka 4.1 lets transactions of no member pass.
    pub fn is_member(&self) -> bool {
        // SAFETY: the metadata is alive, and so is the C string inside it.
        unsafe {
            let member = rd::rd_kafka_consumer_group_metadata_member_id(self.0);
            !member.is_null()
                && !CStr::from_ptr(member).is_empty()
                && rd::rd_kafka_consumer_group_metadata_generation_id(self.0) >= 0
        }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: it was created by librdkafka and is destroyed once.
        unsafe { rd::rd_kafka_consumer_group_metadata_destroy(self.0) };
    }
}

/// An error that librdkafka returned as an object.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    pub text: String,
}

/// Adds offsets to the producer's transaction.
pub fn send_offsets<C: ClientContext>(
    producer: &Client<C>,
    offsets: &TopicPartitionList,
    group: &GroupMetadata,
    timeout: Duration,
) -> Result<(), Failure> {
    // SAFETY: all three are alive for the call, which copies what it keeps; the error is the caller's.
    unsafe {
        let error = rd::rd_kafka_send_offsets_to_transaction(
            producer.native_ptr(),
            offsets.ptr(),
            group.0,
            i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        );
        if error.is_null() {
            return Ok(());
        }
        let failure = Failure {
            code: rd::rd_kafka_error_code(error).into(),
            text: CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
        };
        rd::rd_kafka_error_destroy(error);
        Err(failure)
    }
}

/// The ids of topics, or `None` where the broker or the library has none.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    timeout: Duration,
) -> Option<Vec<String>> {
    let found = Asked::describe(client, topics, None, timeout)?.wait()?;
    topics.iter().map(|name| found.get(name).and_then(|one| one.id.clone())).collect()
}

/// What a broker says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `None` where the broker has none.
    pub id: Option<String>,
    /// Every partition that it knows, in order.
    pub partitions: Vec<Described>,
}

/// What a broker says of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub id: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
}

/// A question about topics that is on its way.
pub struct Asked<'a> {
    queue: Queue<'a>,
    timeout: Duration,
}

impl<'a> Asked<'a> {
    /// Asks one broker, or the controller's place for any, what it knows of topics.
    pub fn describe<C: ClientContext>(
        client: &'a Client<C>,
        topics: &[String],
        broker: Option<i32>,
        timeout: Duration,
    ) -> Option<Asked<'a>> {
        let names: Vec<CString> =
            topics.iter().map(|name| CString::new(name.as_str())).collect::<Result<_, _>>().ok()?;
        let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let queue = Queue::new(client);
        // SAFETY: the names outlive the collection, which copies them; collection and options are destroyed
        // once the request has been handed over, as librdkafka's examples do; no text of an error is asked for.
        unsafe {
            let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
            let options = rd::rd_kafka_AdminOptions_new(
                client.native_ptr(),
                rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            );
            rd::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
            if let Some(broker) = broker {
                rd::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
            }
            let collection = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            rd::rd_kafka_DescribeTopics(client.native_ptr(), collection, options, queue.raw);
            rd::rd_kafka_TopicCollection_destroy(collection);
            rd::rd_kafka_AdminOptions_destroy(options);
        }
        Some(Asked { queue, timeout })
    }

    /// What it said of each topic that it knows, or `None` where it did not answer in time.
    pub fn wait(self) -> Option<BTreeMap<String, Description>> {
        self.queue.wait(self.timeout + Duration::from_secs(1)).and_then(|event| event.descriptions())
    }
}

/// Makes a group of the client's mock cluster start without waiting for more members.
pub fn start_groups_at_once<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the cluster belongs to the client and lives as long as it does.
    unsafe {
        let cluster = rd::rd_kafka_handle_mock_cluster(client.native_ptr());
        if !cluster.is_null() {
            rd::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}

/// A queue for the answers of one request.
struct Queue<'a> {
    raw: *mut rd::rd_kafka_queue_t,
    client: PhantomData<&'a ()>,
}

impl<'a> Queue<'a> {
    fn new<C: ClientContext>(client: &'a Client<C>) -> Queue<'a> {
        // SAFETY: the client outlives the queue.
        Queue { raw: unsafe { rd::rd_kafka_queue_new(client.native_ptr()) }, client: PhantomData }
    }

    fn wait(&self, timeout: Duration) -> Option<Event> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is the caller's.
        let raw = unsafe { rd::rd_kafka_queue_poll(self.raw, millis) };
        (!raw.is_null()).then_some(Event(raw))
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: it was created by librdkafka and is destroyed once.
        unsafe { rd::rd_kafka_queue_destroy(self.raw) };
    }
}

/// An answer.
struct Event(*mut rd::rd_kafka_event_t);

impl Event {
    /// The topics by name, without those that the broker does not know.
    fn descriptions(&self) -> Option<BTreeMap<String, Description>> {
        // SAFETY: the descriptions belong to the event, which outlives this call.
        unsafe {
            let result = rd::rd_kafka_event_DescribeTopics_result(self.0);
            if result.is_null() || code(rd::rd_kafka_event_error(self.0)).is_some() {
                return None;
            }
            let mut count = 0;
            let all = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            Some(array(all, count).iter().filter_map(|one| described(*one)).collect())
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it was created by librdkafka and is destroyed once.
        unsafe { rd::rd_kafka_event_destroy(self.0) };
    }
}

/// Name and description of a topic, `None` where the broker answered with an error for it.
///
/// # Safety
/// The description must be alive.
unsafe fn described(description: *const rd::rd_kafka_TopicDescription_t) -> Option<(String, Description)> {
    // SAFETY: whatever is asked of the description belongs to it.
    unsafe {
        let error = rd::rd_kafka_TopicDescription_error(description);
        let name = rd::rd_kafka_TopicDescription_name(description);
        if name.is_null() || code(rd::rd_kafka_error_code(error)).is_some() {
            return None;
        }
        let mut count = 0;
        let partitions = rd::rd_kafka_TopicDescription_partitions(description, &mut count);
        let partitions = array(partitions, count).iter().map(|one| partition(*one)).collect();
        let id = uuid(rd::rd_kafka_TopicDescription_topic_id(description));
        Some((CStr::from_ptr(name).to_string_lossy().into_owned(), Description { id, partitions }))
    }
}

/// # Safety
/// The partition must be alive.
unsafe fn partition(info: *const rd::rd_kafka_TopicPartitionInfo_t) -> Described {
    // SAFETY: leader and replicas belong to the partition.
    unsafe {
        let leader = rd::rd_kafka_TopicPartitionInfo_leader(info);
        let mut count = 0;
        let replicas = rd::rd_kafka_TopicPartitionInfo_replicas(info, &mut count);
        Described {
            id: rd::rd_kafka_TopicPartitionInfo_partition(info),
            leader: (!leader.is_null()).then(|| rd::rd_kafka_Node_id(leader)).filter(|id| *id >= 0),
            replicas: array(replicas, count).iter().map(|node| rd::rd_kafka_Node_id(*node)).collect(),
        }
    }
}

/// # Safety
/// The id must be null or alive.
unsafe fn uuid(id: *const rd::rd_kafka_Uuid_t) -> Option<String> {
    // SAFETY: the text belongs to the id.
    unsafe {
        if id.is_null() || rd::rd_kafka_Uuid_most_significant_bits(id) == 0 {
            return None;
        }
        let text = rd::rd_kafka_Uuid_base64str(id);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

fn code(error: RDKafkaRespErr) -> Option<Code> {
    (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
}

/// # Safety
/// `start` must be null or point to `size` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const u8, size: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, size) })
}

/// # Safety
/// `start` must be null or point to `count` elements that live for `'a`.
unsafe fn array<'a, T>(start: *mut T, count: usize) -> &'a [T] {
    // SAFETY: as the caller promises.
    if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, count) } }
}

/// A client that exists for its handshake.
pub struct Meeting {
    client: Client<Silent>,
}

/// Takes no log lines: they are taken from the queue itself.
struct Silent;

impl ClientContext for Silent {}

/// How librdkafka calls the line in which it repeats what [`check_certificate`] said.
const VERIFY_FACILITY: &CStr = c"SSLCERTVRFY";

impl Meeting {
    /// Begins to connect.
    pub fn begin(config: &ClientConfig) -> Option<Meeting> {
        let native = config.create_native_config().ok()?;
        // SAFETY: the configuration is alive; the callback is a function and captures nothing.
        unsafe { rd::rd_kafka_conf_set_ssl_cert_verify_cb(native.ptr(), Some(check_certificate)) };
        let client = Client::new(config, native, rd::rd_kafka_type_t::RD_KAFKA_PRODUCER, Silent).ok()?;
        Some(Meeting { client })
    }

    /// What the callback said, once it has.
    pub fn hear(&self, wait: Duration) -> Option<String> {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client outlives queue and event, each of which is released once; the texts belong to the
        // event and are copied.
        unsafe {
            let queue = rd::rd_kafka_queue_get_main(self.client.native_ptr());
            let event = rd::rd_kafka_queue_poll(queue, millis);
            let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
            let is_log =
                !event.is_null() && rd::rd_kafka_event_log(event, &mut facility, &mut line, &mut level) == 0;
            let heard = (is_log && CStr::from_ptr(facility) == VERIFY_FACILITY)
                .then(|| CStr::from_ptr(line).to_string_lossy().into_owned());
            rd::rd_kafka_event_destroy(event);
            rd::rd_kafka_queue_destroy(queue);
            heard.and_then(|line| what_is_wrong(&line))
        }
    }
}

/// `it has expired (subject=/CN=kafka, issuer=/CN=ca)`, of the line that librdkafka makes of it.
fn what_is_wrong(line: &str) -> Option<String> {
    let (before, why) = line.split_once("verification callback failed: ")?;
    let whose = before.split_once("Certificate ").map_or("", |(_, rest)| rest.trim());
    Some(format!("{why} {whose}"))
}

/// Judges as OpenSSL did, and writes down why.
///
/// # Safety
/// librdkafka calls it with pointers that are valid for the call.
unsafe extern "C" fn check_certificate(
    _client: *mut rd::rd_kafka_t,
    _broker: *const c_char,
    _broker_id: i32,
    x509_error: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _certificate_size: usize,
    text: *mut c_char,
    text_size: usize,
    _opaque: *mut c_void,
) -> c_int {
    // SAFETY: as librdkafka promises; no more than the size is written, and a null after it.
    unsafe {
        let why = certificate_error(*x509_error).as_bytes();
        if *x509_error == 0 || text_size == 0 {
            return c_int::from(*x509_error == 0);
        }
        let length = why.len().min(text_size - 1);
        ptr::copy_nonoverlapping(why.as_ptr().cast(), text, length);
        *text.add(length) = 0;
    }
    0
}

/// The codes of OpenSSL (`x509_vfy.h`) that a wrong set-up leads to.
fn certificate_error(code: c_int) -> &'static str {
    match code {
        9 => "it is not yet valid",
        10 => "it has expired",
        18 | 19 => "it is signed by itself, and `ssl.ca.location` does not hold it",
        2 | 20 | 21 => "it is signed by an authority that `ssl.ca.location` does not hold",
        23 => "it has been revoked",
        62 | 64 => "it is for another host name than the one connected to",
        _ => "it cannot be verified",
    }
}
