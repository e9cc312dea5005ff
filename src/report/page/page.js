// Crosshair, zoom and switches for the charts. Without it, the page shows the same pictures and tables.
'use strict';
(() => {
  const NS = 'http://www.w3.org/2000/svg';
  document.documentElement.classList.add('js');
  const trim = (text) => (text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text);
  const micros = (us) => {
    const [value, unit] = us < 1 ? [us * 1e3, 'ns'] : us < 1e3 ? [us, 'µs'] : us < 1e6 ? [us / 1e3, 'ms'] : [us / 1e6, 's'];
    return trim(value.toPrecision(3)) + ' ' + unit;
  };
  const labels = {
    seconds: (x) => trim(x.toFixed(2)) + ' s',
    micros: (x) => micros(10 ** x),
    rate: (x) => trim(x.toFixed(x < 100 ? 2 : 0)) + '/s',
    nines: (x) => trim((100 - 100 / 10 ** x).toFixed(4)) + ' %',
  };
  const charts = [];

  function chart(figure) {
    const svg = figure.querySelector(':scope > svg');
    const place = {};
    for (const name of ['from', 'to', 'left', 'right', 'top', 'bottom']) place[name] = Number(svg.dataset[name]);
    const { from, to, left, right, top, bottom } = place;
    if (!(right > left) || !(to > from)) return;
    const rows = [...figure.querySelectorAll('tr[data-x]')];
    const xs = rows.map((row) => Number(row.dataset.x));
    const names = [...figure.querySelectorAll('thead th')].map((head) => head.textContent);
    const output = figure.querySelector('output');
    const along = figure.dataset.along;
    const make = (name, attributes) => {
      const element = document.createElementNS(NS, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      return element;
    };
    // The lines go into a window of their own; zooming moves what is seen through it.
    const box = { x: left, y: top, width: right - left, height: bottom - top };
    const plot = make('svg', { ...box, class: 'plot', preserveAspectRatio: 'none', overflow: 'hidden' });
    const groups = [...svg.querySelectorAll('g[data-group]')];
    plot.append(...groups);
    const picked = make('rect', { class: 'picked', y: top, height: bottom - top, width: 0 });
    const cross = make('line', { class: 'cross', y1: top, y2: bottom, visibility: 'hidden' });
    const field = make('rect', { ...box, class: 'catch' });
    svg.append(plot, picked, cross, field);
    const ticks = [...svg.querySelectorAll('text')]
      .filter((text) => Number(text.getAttribute('y')) > bottom)
      .map((text) => ({ text, at: Number(text.getAttribute('x')), words: text.textContent }));
    const self = { along, seen: [from, to], index: -1 };
    const toPixel = (x) => left + ((x - self.seen[0]) / (self.seen[1] - self.seen[0])) * (right - left);
    const toValue = (pixel) => self.seen[0] + ((pixel - left) / (right - left)) * (self.seen[1] - self.seen[0]);

    self.zoom = (a, b) => {
      self.seen = [Math.max(from, a), Math.min(to, b)];
      const scale = (right - left) / (to - from);
      const [start, end] = self.seen;
      plot.setAttribute('viewBox', [left + (start - from) * scale, top, (end - start) * scale, bottom - top].join(' '));
      const whole = start === from && end === to;
      for (const tick of ticks) tick.text.textContent = whole ? tick.words : labels[along](toValue(tick.at));
      self.show(-1);
    };
    self.show = (index, quiet) => {
      self.index = index;
      const x = xs[index];
      const visible = x !== undefined && x >= self.seen[0] && x <= self.seen[1];
      cross.setAttribute('visibility', visible ? 'visible' : 'hidden');
      if (!visible) { output.textContent = ''; return; }
      const pixel = toPixel(x);
      cross.setAttribute('x1', pixel);
      cross.setAttribute('x2', pixel);
      const cells = [...rows[index].cells].map((cell) => cell.textContent);
      const zoomed = self.seen[0] !== from || self.seen[1] !== to;
      const words = cells.map((cell, column) => (column ? names[column] + ' ' + cell : cell)).join('   ');
      output.textContent = words + (zoomed && !quiet ? '   (Escape or double click: all of it)' : '');
    };
    const nearest = (x) => {
      let best = 0;
      xs.forEach((other, index) => { if (Math.abs(other - x) < Math.abs(xs[best] - x)) best = index; });
      return best;
    };
    // Charts over time move together.
    const together = (act) => charts.filter((other) => other === self || (along === 'seconds' && other.along === along)).forEach(act);
    const pixelOf = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      return Math.min(right, Math.max(left, point.x));
    };
    let start = null;
    field.addEventListener('pointerdown', (event) => {
      start = pixelOf(event);
      field.setPointerCapture(event.pointerId);
    });
    field.addEventListener('pointermove', (event) => {
      const pixel = pixelOf(event);
      const index = nearest(toValue(pixel));
      together((other) => other.show(index, other !== self));
      if (start === null) return;
      picked.setAttribute('x', Math.min(start, pixel));
      picked.setAttribute('width', Math.abs(pixel - start));
    });
    field.addEventListener('pointerup', (event) => {
      const [a, b] = [toValue(start ?? left), toValue(pixelOf(event))].sort((one, other) => one - other);
      const wide = start !== null && Math.abs(pixelOf(event) - start) > 6;
      start = null;
      picked.setAttribute('width', 0);
      if (wide) together((other) => other.zoom(a, b));
    });
    field.addEventListener('pointerleave', () => { if (start === null) together((other) => other.show(-1)); });
    const all = () => together((other) => other.zoom(-Infinity, Infinity));
    field.addEventListener('dblclick', all);
    svg.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === 'Escape') all();
      else if (step) {
        const index = Math.min(xs.length - 1, Math.max(0, self.index + step));
        together((other) => other.show(index, other !== self));
        event.preventDefault();
      }
    });
    for (const button of figure.querySelectorAll('.legend button')) {
      button.addEventListener('click', () => {
        const on = button.getAttribute('aria-pressed') !== 'true';
        button.setAttribute('aria-pressed', String(on));
        groups.filter((group) => group.dataset.group === button.dataset.line).forEach((group) => { group.style.display = on ? '' : 'none'; });
      });
    }
    charts.push(self);
    self.zoom(from, to);
  }
  document.querySelectorAll('figure[data-along]').forEach(chart);
  // Browsers that keep folded tables from paper, whatever the style says.
  let opened = [];
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('details:not([open])')];
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener('afterprint', () => opened.splice(0).forEach((details) => { details.open = false; }));
})();
