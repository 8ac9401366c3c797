// 16 bytes as a buffer holds them. WIDE reads them as 64-bit words: half as many loads for a driver
// that checks each component of each lane's (llvmpipe).
#ifdef WIDE
alias Word = vec2<u64>;
fn word(w: Word) -> vec4<u32> { return vec4(u32(w.x), u32(w.x >> 32u), u32(w.y), u32(w.y >> 32u)); }
#else
alias Word = vec4<u32>;
fn word(w: Word) -> vec4<u32> { return w; }
#endif

// The same bytes as floats.
fn floats(w: Word) -> vec4<f32> { return bitcast<vec4<f32>>(word(w)); }
