//! What the parts that programs are made of cost here: each program does one thing [`TIMES`] times.

use core::hint::black_box;

use aya_ebpf::helpers::{
    bpf_csum_update, bpf_fib_lookup, bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_coarse_ns,
    bpf_ktime_get_ns, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh,
    bpf_redirect_peer, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::programs::TcContext;
use fairway_common::harness::{KEYS, TIMES};

/// As large as an IPv4 connection's key and entry.
type Key = [u32; 4];
type Value = [u64; 8];

#[map]
static ARRAY: Array<Value> = Array::with_max_entries(KEYS, 0);
#[map]
static CPU_ARRAY: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static HASH: HashMap<Key, Value> = HashMap::with_max_entries(2 * KEYS, 0);
#[map]
static LRU: LruHashMap<Key, Value> = LruHashMap::with_max_entries(2 * KEYS, 0);
/// Full: each new entry makes an old one go.
#[map]
static LRU_FULL: LruHashMap<Key, Value> = LruHashMap::with_max_entries(KEYS, 0);

const VALUE: Value = [1; 8];

/// A key that is in the tables.
fn key(index: u32) -> Key {
    [index, 0, 0, 0]
}

/// One that is not.
fn absent(index: u32) -> Key {
    [index, 0, 0, 1]
}

/// A key that was never there.
fn fresh() -> Key {
    let Some(count) = CPU_ARRAY.get_ptr_mut(0) else { return [0; 4] };
    // SAFETY: this CPU's own entry.
    unsafe {
        *count += 1;
        [*count as u32, (*count >> 32) as u32, 0, 2]
    }
}

macro_rules! primitives {
    ($($name:ident($context:ident, $index:ident) $work:expr;)*) => {$(
        #[classifier]
        #[allow(unused_unsafe, reason = "some of the work is safe")]
        pub fn $name($context: TcContext) -> i32 {
            let mut sum = 0u64;
            for $index in 0..TIMES {
                // SAFETY: the helpers check what they are given, and every entry of these maps is numbers.
                sum = sum.wrapping_add(unsafe { $work } as u64);
            }
            black_box(sum);
            -1
        }
    )*};
}

primitives! {
    p_nothing(_ctx, index) black_box(index);
    p_array(_ctx, index) ARRAY.get(black_box(index)).map_or(0, |value| value[0]);
    p_cpu_array(_ctx, _index) CPU_ARRAY.get(black_box(0)).copied().unwrap_or(0);
    p_hash_hit(_ctx, index) HASH.get(&key(index)).map_or(0, |value| value[0]);
    p_hash_miss(_ctx, index) HASH.get(&absent(index)).map_or(0, |value| value[0]);
    p_hash_update(_ctx, index) HASH.insert(&key(index), &VALUE, 0).is_ok();
    p_hash_insert_delete(_ctx, index)
        HASH.insert(&absent(index), &VALUE, 0).is_ok() as u64 + HASH.remove(&absent(index)).is_ok() as u64;
    p_lru_hit(_ctx, index) LRU.get(&key(index)).map_or(0, |value| value[0]);
    p_lru_update(_ctx, index) LRU.insert(&key(index), &VALUE, 0).is_ok();
    p_lru_insert_full(_ctx, _index) LRU_FULL.insert(&fresh(), &VALUE, 0).is_ok();
    p_clock(_ctx, _index) bpf_ktime_get_ns();
    p_coarse_clock(_ctx, _index) bpf_ktime_get_coarse_ns();
    p_jiffies(_ctx, _index) bpf_jiffies64();
    p_random(_ctx, _index) bpf_get_prandom_u32();
    p_redirect(_ctx, _index) bpf_redirect(1, 0);
    p_redirect_peer(_ctx, _index) bpf_redirect_peer(1, 0);
    p_redirect_neigh(_ctx, _index) bpf_redirect_neigh(1, core::ptr::null_mut(), 0, 0);
    p_fib_lookup(ctx, _index) {
        let mut fib: aya_ebpf::bindings::bpf_fib_lookup = core::mem::zeroed();
        fib.family = 2;
        fib.ifindex = (*ctx.skb.skb).ifindex;
        let _ = bpf_skb_load_bytes(ctx.skb.skb.cast(), 30, (&raw mut fib.__bindgen_anon_4).cast(), 4);
        bpf_fib_lookup(ctx.skb.skb.cast(), &mut fib, size_of_val(&fib) as i32, 0)
    };
    p_load_bytes(ctx, index) {
        let mut word = index;
        bpf_skb_load_bytes(ctx.skb.skb.cast(), 30, (&raw mut word).cast(), 4)
    };
    p_store_bytes(ctx, index) {
        let word = index;
        bpf_skb_store_bytes(ctx.skb.skb, 38, (&raw const word).cast(), 4, 0)
    };
    p_l3_csum_replace(ctx, index) bpf_l3_csum_replace(ctx.skb.skb, 24, 0, index as u64, 0);
    p_l4_csum_replace(ctx, index) bpf_l4_csum_replace(ctx.skb.skb, 50, 0, index as u64, 0);
    p_csum_update(ctx, index) bpf_csum_update(ctx.skb.skb, index);
}
