// Boxes of facts: beside their number where there is room, closed by Escape, opened by a first tap.
(() => {
  const EDGE = 8; // pixels to the window's edge
  const owner = (target) => target instanceof Element && target.closest('.number');
  const place = (number) => {
    const box = number.querySelector('.number-facts');
    box.classList.toggle('placed', innerWidth >= 700);
    box.style.left = box.style.top = box.style.bottom = box.style.maxHeight = '';
    const link = number.querySelector('.number-link').getBoundingClientRect();
    const { width, height, top } = box.getBoundingClientRect();
    if (innerWidth < 700) {
      if (link.bottom <= top) return;
      box.style.top = `${EDGE}px`; // at the bottom it would lie on its number
      box.style.bottom = 'auto';
      box.style.boxSizing = 'border-box';
      box.style.maxHeight = `min(60vh, ${link.top - 2 * EDGE}px)`;
      return;
    }
    const below = link.bottom + height < innerHeight || link.top < height;
    box.style.left = `${Math.max(EDGE, Math.min(link.left, document.documentElement.clientWidth - width - EDGE))}px`;
    box.style.top = `${below ? link.bottom : link.top - height}px`;
  };
  const open = () => document.querySelectorAll('.number:hover, .number:focus-within');
  let tapped = null;
  for (const event of ['mouseover', 'focusin'])
    document.addEventListener(event, (e) => { const number = owner(e.target); if (number) place(number); });
  for (const event of ['mouseout', 'focusout'])
    document.addEventListener(event, (e) => {
      const number = owner(e.target);
      if (number && !number.contains(e.relatedTarget)) number.classList.remove('dismissed');
    });
  addEventListener('scroll', () => open().forEach(place), { passive: true });
  document.addEventListener('keydown', (e) => {
    if (e.key === 'Escape') open().forEach((number) => number.classList.add('dismissed'));
  });
  document.addEventListener('pointerdown', (e) => {
    const number = owner(e.target);
    tapped = e.pointerType === 'touch' && number && !number.contains(document.activeElement) ? number : null;
  });
  document.addEventListener('click', (e) => {
    const number = owner(e.target);
    if (number && number === tapped) { e.preventDefault(); number.querySelector('.number-link').focus(); }
  });
})();
