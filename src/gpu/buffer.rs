//! Buffers: created with room for any binding, filled, read back.

use std::sync::mpsc;

use super::device::{Error, Gpu};

/// Rounds up to a multiple of `to`.
pub const fn align(value: u64, to: u64) -> u64 {
    value.div_ceil(to) * to
}

impl Gpu {
    /// A storage buffer of at least `bytes`, zeroed, that can be copied to and from.
    ///
    /// # Errors
    /// When the device allows no buffer or binding of that size, or has no memory left for it;
    /// `what` names it.
    pub fn storage(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer, Error> {
        let allowed = self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size);
        // Bindings of vec4 arrays want a multiple of 16 bytes, and none may be empty.
        let size = align(bytes.max(16), 16);
        if size > allowed {
            return Err(Error::TooLarge {
                what: what.to_string(),
                asked: size,
                unit: "bytes in one buffer",
                allowed,
                adapter: self.adapter.name.clone(),
                hint: "choose a smaller context, batch or weight format, or another adapter".into(),
            });
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() {
            let adapter = self.adapter.name.clone();
            return Err(Error::OutOfMemory {
                what: what.to_string(),
                asked: size,
                adapter,
                left: self.left(),
            });
        }
        Ok(buffer)
    }

    /// A storage buffer with these contents.
    ///
    /// # Errors
    /// As [`Gpu::storage`].
    pub fn storage_with(&self, what: &str, data: &[u8]) -> Result<wgpu::Buffer, Error> {
        let buffer = self.storage(what, data.len() as u64)?;
        self.write(&buffer, 0, data);
        Ok(buffer)
    }

    /// A uniform buffer with these contents.
    pub fn uniform_with(&self, what: &str, data: &[u8]) -> wgpu::Buffer {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size: align(data.len().max(16) as u64, 16),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.write(&buffer, 0, data);
        buffer
    }

    /// Writes at `offset` (a multiple of 4); the data is padded to whole words.
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, data: &[u8]) {
        if data.len().is_multiple_of(4) {
            self.queue.write_buffer(buffer, offset, data);
        } else {
            let mut padded = data.to_vec();
            padded.resize(data.len().next_multiple_of(4), 0);
            self.queue.write_buffer(buffer, offset, &padded);
        }
    }
}

/// A mappable buffer that results are copied into and read from, made once and used every step.
#[derive(Debug)]
pub struct Readback {
    buffer: wgpu::Buffer,
}

impl Readback {
    /// Room for `bytes`.
    pub fn new(gpu: &Gpu, bytes: u64) -> Self {
        let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: align(bytes.max(4), 4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { buffer }
    }

    /// Bytes that fit.
    pub fn size(&self) -> u64 {
        self.buffer.size()
    }

    /// Records the copy of `bytes` from `source`.
    pub fn copy(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        source: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
        to: u64,
    ) {
        encoder.copy_buffer_to_buffer(source, offset, &self.buffer, to, align(bytes, 4));
    }

    /// Waits for the copy and hands the first `bytes` to `read`.
    ///
    /// # Errors
    /// A lost device, or an error since the last check.
    pub fn read<T>(&self, gpu: &Gpu, bytes: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        self.map(gpu, bytes, read, Gpu::wait)
    }

    /// As [`Readback::read`], waiting for one submission instead of all.
    ///
    /// # Errors
    /// As [`Readback::read`].
    pub fn read_after<T>(
        &self,
        gpu: &Gpu,
        submission: wgpu::SubmissionIndex,
        bytes: u64,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Error> {
        self.map(gpu, bytes, read, |gpu| gpu.wait_for(submission))
    }

    /// As [`Readback::read`], where the copy is known to be over: another result of its submission was
    /// read.
    ///
    /// # Errors
    /// As [`Readback::read`].
    pub fn read_done<T>(&self, gpu: &Gpu, bytes: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        let polled = |gpu: &Gpu| {
            let polled = gpu.device.poll(wgpu::PollType::Poll);
            polled.map(|_| ()).map_err(|error| Error::Device(error.to_string()))
        };
        self.map(gpu, bytes, read, polled)
    }

    fn map<T>(
        &self,
        gpu: &Gpu,
        bytes: u64,
        read: impl FnOnce(&[u8]) -> T,
        wait: impl FnOnce(&Gpu) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let (send, receive) = mpsc::channel();
        self.buffer.map_async(wgpu::MapMode::Read, ..align(bytes, 4), move |result| {
            let _ = send.send(result);
        });
        wait(gpu)?;
        receive
            .recv()
            .map_err(|e| Error::Device(e.to_string()))?
            .map_err(|e| Error::Device(e.to_string()))?;
        let view = self.buffer.get_mapped_range(..bytes).map_err(|e| Error::Device(e.to_string()))?;
        let out = read(&view);
        drop(view);
        self.buffer.unmap();
        Ok(out)
    }
}

impl Gpu {
    /// Copies a buffer's bytes to the host: for tests and tools, not for the step loop.
    ///
    /// # Errors
    /// A lost device, or an error since the last check.
    pub fn download(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let readback = Readback::new(self, bytes);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        readback.copy(&mut encoder, buffer, offset, bytes, 0);
        self.submit([encoder.finish()]);
        readback.read(self, bytes, <[u8]>::to_vec)
    }
}
