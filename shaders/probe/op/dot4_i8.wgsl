// Packed dot products of 8-bit integers, added to what is there: eight operations.
alias Value = i32;
alias Sum = i32;

fn start(i: u32) -> Value {
    return i32(i * 0x9e3779b9u);
}

fn next(x: Value, c: u32) -> Value {
    return dot4I8Packed(bitcast<u32>(x), c) + x;
}

fn total(x: Value) -> Sum {
    return x;
}
