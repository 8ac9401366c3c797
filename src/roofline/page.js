// What a mark is about, beside the pointer; and the marks of one step alone.
const box = document.getElementById('about');
document.addEventListener('pointermove', (event) => {
  const mark = event.target.closest?.('svg .dot, svg rect, svg circle');
  const title = mark?.querySelector('title, desc');
  box.hidden = !title;
  if (!title) return;
  // The browser's own hint would cover ours.
  if (title.tagName === 'title') {
    const ours = document.createElementNS('http://www.w3.org/2000/svg', 'desc');
    ours.textContent = title.textContent;
    title.replaceWith(ours);
  }
  box.textContent = title.textContent;
  const [x, y] = [event.clientX + 14, event.clientY + 14];
  box.style.left = Math.min(x, innerWidth - box.offsetWidth - 8) + 'px';
  box.style.top = Math.min(y, innerHeight - box.offsetHeight - 8) + 'px';
});
for (const button of document.querySelectorAll('[data-pick]')) {
  button.addEventListener('click', () => {
    for (const other of document.querySelectorAll('[data-pick]')) other.ariaPressed = String(other === button);
    for (const picture of document.querySelectorAll('[data-show]')) picture.hidden = picture.dataset.show !== button.dataset.pick;
  });
}
