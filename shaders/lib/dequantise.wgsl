// The numbers 4i..4i+3 of a unit, whatever its format: raw weights, times scale, plus minimum.
fn numbers(b: Block, i: u32) -> vec4<f32> {
    let raw = block_weights(b, i);
    if (!HAS_SCALE) { return raw; }
    var scale = b.scale.x;
    if (HALF_SCALES) { scale = select(b.scale.x, b.scale.y, i >= 4u); }
    if (HAS_MIN) { return fma(raw, vec4(scale), vec4(b.min)); }
    return raw * scale;
}
