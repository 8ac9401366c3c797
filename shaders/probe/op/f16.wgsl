// Multiply-adds in f16, two at once as the packed instructions take them: x * x + 1/4, four
// operations. c holds 1/4 as f32.
alias Value = vec2<f16>;
alias Sum = f32;

fn start(i: u32) -> Value {
    return vec2(f16(f32(i & 63u) / 256.0), f16(f32(i & 31u) / 256.0));
}

fn next(x: Value, c: u32) -> Value {
    return fma(x, x, vec2(f16(bitcast<f32>(c))));
}

fn total(x: Value) -> Sum {
    return f32(x.x) + f32(x.y);
}
