/* The LSTM cell, driven by hand: one unit (H = 1), twelve steps, no library, no network.
 *
 * Every element `.lstm-cell-figure` on the page becomes one figure. Attributes read from it:
 *   data-preset   key of PRESETS (default "bit")
 *   data-step     the step that is selected first, 1..T (default 2)
 * A `.lstm-cell-static` child, drawn when the book is built, stays for print and for readers without JavaScript.
 * The page without such an element is left alone.
 *
 * Naming: `i` is always the input GATE. Time is `t`; state arrays carry slot 0 = initial state.
 */
(function () {
  "use strict";

  // ------------------------------------------------------------------ the equations
  const T = 12;
  const Z_MAX = 6;
  const GATES = ["i", "f", "g", "o"]; // order of the data: PyTorch's
  const DRAWN = ["f", "i", "g", "o"]; // order on the page: the order in which the conveyor belt meets them
  const GATE_NAME = { i: "Input gate", f: "Forget gate", g: "Candidate", o: "Output gate" };

  /** Logistic function; the branch keeps exp() from overflowing. */
  function sigmoid(z) {
    if (z >= 0) return 1 / (1 + Math.exp(-z));
    const e = Math.exp(z);
    return e / (1 + e);
  }

  /** ln σ(z), accurate also where σ(z) rounds to 1. */
  function logSigmoid(z) {
    return Math.min(z, 0) - Math.log1p(Math.exp(-Math.abs(z)));
  }

  /** Steps until a stored value has halved when the forget gate stays at σ(zForget): ln(1/2) / ln f. */
  function halfLife(zForget) {
    return -Math.LN2 / logSigmoid(zForget);
  }

  /**
   * Run the cell over a sequence of pre-activations.
   *   z    {i, f, g, o}: four arrays of equal length n, the pre-activations of step 1..n
   *   c0   initial cell state
   * Returns gates i, f, g, o (n values, step t at [t - 1]), states c and h (n + 1 values, step t at [t],
   * slot 0 = initial state), dcT_dc (n + 1 values: ∂c_n/∂c_t) and halfLife (n values).
   */
  function simulate(z, c0) {
    if (!Number.isFinite(c0)) throw new RangeError("c0 must be a finite number, got " + c0);
    const n = z.f.length;
    for (const gate of GATES) {
      if (!Array.isArray(z[gate]) || z[gate].length !== n) {
        throw new RangeError("z." + gate + " must be an array of " + n + " numbers, as z.f is");
      }
      if (!z[gate].every(Number.isFinite)) throw new RangeError("z." + gate + " must hold finite numbers only");
    }
    const out = {
      i: z.i.map(sigmoid),
      f: z.f.map(sigmoid),
      g: z.g.map(Math.tanh),
      o: z.o.map(sigmoid),
      c: [c0],
      h: [0],
      dcT_dc: new Array(n + 1).fill(1),
      halfLife: z.f.map(halfLife),
    };
    for (let t = 1; t <= n; t++) {
      out.c[t] = out.f[t - 1] * out.c[t - 1] + out.i[t - 1] * out.g[t - 1];
      out.h[t] = out.o[t - 1] * Math.tanh(out.c[t]);
    }
    for (let t = n; t >= 1; t--) out.dcT_dc[t - 1] = out.dcT_dc[t] * out.f[t - 1];
    return out;
  }

  /** T values: `base` everywhere, other values at the steps named in `edits` (1-based). */
  function pattern(base, edits) {
    return Array.from({ length: T }, (_, k) => (edits && k + 1 in edits ? edits[k + 1] : base));
  }

  const LN9 = Math.log(9); // σ(ln 9) = 0.9 and σ(−ln 9) = 0.1

  // The directive in book/_ext/lstm_cell_figure.py draws its static picture from its own copy of this table;
  // tests/browser/test_lstm_cell.py holds the two together.
  const PRESETS = {
    bit: {
      title: "Remember one bit",
      hint: "Step 2 writes. The input gate then stays shut, so the candidates of steps 5 and 8 change next to nothing. Step 11 reads.",
      c0: 0,
      z: { i: pattern(-6, { 2: 6 }), f: pattern(6, { 2: -6 }), g: pattern(0, { 2: 3, 5: -3, 8: 2 }), o: pattern(-6, { 11: 6 }) },
    },
    latch: {
      title: "Latch and release",
      hint: "Write a plus at step 2, hold it, let it go at step 6. The same again with a minus at steps 8 and 12.",
      c0: 0,
      z: { i: pattern(-6, { 2: 6, 8: 6 }), f: pattern(6, { 6: -6, 12: -6 }), g: pattern(0, { 2: 3, 8: -3 }), o: pattern(6) },
    },
    leaky: {
      title: "Leaky average, f = 0.9",
      hint: "With f = 0.9 and i = 0.1 the cell is an exponential moving average of the candidate.",
      c0: 0,
      z: {
        i: pattern(-LN9),
        f: pattern(LN9),
        g: pattern(2, { 7: -2, 8: -2, 9: -2, 10: -2, 11: -2, 12: -2 }),
        o: pattern(6),
      },
    },
    zero: {
      title: "Textbook start: all zero",
      hint: "Weights near zero make every pre-activation 0, so f = 0.5: the cell forgets half of its state at each step.",
      c0: 1,
      z: { i: pattern(0), f: pattern(0), g: pattern(0), o: pattern(0) },
    },
    bias: {
      title: "Forget bias +1",
      hint: "The same start with 1 added to the forget gate's bias: f = " + fixed(sigmoid(1), 3) + ", and the gradient reaches further back.",
      c0: 1,
      z: { i: pattern(0), f: pattern(1), g: pattern(0), o: pattern(0) },
    },
    blocked: {
      title: "Saturated: write, then block",
      hint: "Step 2 writes, step 7 wipes the belt. Later candidates meet a shut input gate; the gradient meets f = " + fixed(sigmoid(-6), 3) + ".",
      c0: 0,
      z: { i: pattern(-6, { 2: 6 }), f: pattern(6, { 7: -6 }), g: pattern(6), o: pattern(6) },
    },
  };

  // ------------------------------------------------------------------ numbers and labels as text
  const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

  function powerOfTen(exponent) {
    return exponent === 0 ? "1" : "10" + String(exponent).replace(/./g, (ch) => SUPERSCRIPT[ch]);
  }

  /** Fixed decimals, a real minus sign, and no "−0.000". */
  function fixed(value, decimals) {
    const text = Math.abs(value).toFixed(decimals);
    return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
  }

  /** For quantities that shrink over many decades. */
  function compact(value) {
    if (value === 0 || Math.abs(value) >= 0.01) return fixed(value, 3);
    const [mantissa, exponent] = value.toExponential(1).split("e");
    return mantissa.replace("-", "−") + "·" + powerOfTen(Number(exponent));
  }

  function steps(value) {
    return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
  }

  /** Tiny markup for labels: `$c$` is a variable (italic), `_{3}` a subscript. */
  function parseLabel(markup) {
    return markup
      .split(/(\$[^$]*\$|_\{[^}]*\})/)
      .filter(Boolean)
      .map((part) => {
        if (part[0] === "$") return { text: part.slice(1, -1), style: "variable" };
        if (part.startsWith("_{")) return { text: part.slice(2, -1), style: "sub" };
        return { text: part, style: "plain" };
      });
  }

  const SVG_NS = "http://www.w3.org/2000/svg";

  function svgNode(name, attributes, parent) {
    const node = document.createElementNS(SVG_NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(node);
    return node;
  }

  function htmlNode(name, attributes, parent) {
    const node = document.createElement(name);
    for (const key in attributes) {
      if (key === "text") node.textContent = attributes[key];
      else node.setAttribute(key, attributes[key]);
    }
    if (parent) parent.appendChild(node);
    return node;
  }

  function setSvgLabel(node, markup) {
    let lowered = false;
    node.replaceChildren(
      ...parseLabel(markup).map((run) => {
        const span = svgNode("tspan", run.style === "variable" ? { class: "lc-var" } : {});
        if (run.style === "sub") {
          span.setAttribute("class", "lc-sub");
          span.setAttribute("dy", "4");
        } else if (lowered) {
          span.setAttribute("dy", "-4");
        }
        lowered = run.style === "sub";
        span.textContent = run.text;
        return span;
      })
    );
  }

  function setHtmlLabel(node, markup) {
    node.replaceChildren(
      ...parseLabel(markup).map((run) => {
        if (run.style === "plain") return document.createTextNode(run.text);
        return htmlNode(run.style === "sub" ? "sub" : "i", { text: run.text });
      })
    );
  }

  function svgLabel(parent, x, y, markup, attributes) {
    const node = svgNode("text", Object.assign({ x: x, y: y }, attributes), parent);
    setSvgLabel(node, markup);
    return node;
  }

  // ------------------------------------------------------------------ the drawing of the cell
  // Coordinates are CSS pixels at scale 1 for the width at hand, so text keeps its size on a phone.
  const WIDE = 600; // below this width: values under their names, sliders stacked
  const BELT_Y = 66;
  const MIX_Y = 176;
  const BOX_TOP = 216;
  const TITLE = 19; // height of one line of text in a gate box
  const NODE_R = 15;

  function buildCell(svg, width) {
    const wide = width >= WIDE;
    const titleLines = wide ? 1 : 2; // on a phone the value goes under the gate's letter
    const boxHeight = 59 + titleLines * TITLE;
    const boxFoot = BOX_TOP + boxHeight;
    const height = boxFoot + 24;
    svg.replaceChildren();
    svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    const column = (width - (wide ? 0 : 18)) / 4; // a phone needs room for the value of h beside the last column
    const x = {};
    DRAWN.forEach((gate, k) => (x[gate] = column * (k + 0.5)));
    const xMix = (x.i + x.g) / 2;
    const boxWidth = Math.min(136, column - 10);

    svgNode("rect", { class: "lc-body", x: 0.75, y: 8, width: width - 1.5, height: boxFoot - 22, rx: 18 }, svg);
    svgNode("rect", { class: "lc-rail", x: 0.5, y: BELT_Y - 10, width: width - 1, height: 20 }, svg);

    // Each path is drawn twice: a thin track that is always visible, and the flow whose width is the value.
    const routes = {
      cIn: "M0," + BELT_Y + "H" + (x.f - NODE_R),
      kept: "M" + (x.f + NODE_R) + "," + BELT_Y + "H" + (xMix - NODE_R),
      cOut: "M" + (xMix + NODE_R) + "," + BELT_Y + "H" + width,
      f: "M" + x.f + "," + BOX_TOP + "V" + (BELT_Y + NODE_R),
      i: "M" + x.i + "," + BOX_TOP + "V" + MIX_Y + "H" + (xMix - NODE_R),
      g: "M" + x.g + "," + BOX_TOP + "V" + MIX_Y + "H" + (xMix + NODE_R),
      written: "M" + xMix + "," + (MIX_Y - NODE_R) + "V" + (BELT_Y + NODE_R),
      squashed: "M" + x.o + "," + BELT_Y + "V" + (MIX_Y - NODE_R),
      o: "M" + x.o + "," + BOX_TOP + "V" + (MIX_Y + NODE_R),
      h: "M" + (x.o + NODE_R) + "," + MIX_Y + "H" + width,
    };
    const colour = { cIn: "c", kept: "c", cOut: "c", written: "c", squashed: "h", h: "h", f: "f", i: "i", g: "g", o: "o" };
    const flows = {};
    for (const name in routes) {
      svgNode("path", { class: "lc-track", d: routes[name] }, svg);
      flows[name] = svgNode("path", { class: "lc-flow lc-stroke-" + colour[name], "data-flow": name, d: routes[name] }, svg);
    }
    svgNode("circle", { class: "lc-tap", cx: x.o, cy: BELT_Y, r: 5 }, svg);

    const chevron = (cx, cy, angle) =>
      svgNode("path", { class: "lc-chevron", d: "M-4,-5L3,0L-4,5", transform: "translate(" + cx + "," + cy + ") rotate(" + angle + ")" }, svg);
    chevron((x.f - NODE_R) / 2, BELT_Y, 0);
    chevron((x.f + xMix) / 2, BELT_Y, 0);
    chevron((xMix + x.o) / 2, BELT_Y, 0);
    chevron(width - column / 6, BELT_Y, 0);
    chevron(x.f, (BOX_TOP + BELT_Y) / 2, -90);
    chevron(xMix, (MIX_Y + BELT_Y) / 2 + 8, -90);
    chevron(width - column / 6, MIX_Y, 0);

    const operator = (cx, cy, symbol) => {
      svgNode("circle", { class: "lc-node", cx: cx, cy: cy, r: NODE_R }, svg);
      const a = symbol === "+" ? 7 : 5;
      const d = symbol === "+" ? "M-7,0H7M0,-7V7" : "M" + -a + "," + -a + "L" + a + "," + a + "M" + -a + "," + a + "L" + a + "," + -a;
      svgNode("path", { class: "lc-symbol", d: d, transform: "translate(" + cx + "," + cy + ")" }, svg);
    };
    operator(x.f, BELT_Y, "×");
    operator(xMix, BELT_Y, "+");
    operator(xMix, MIX_Y, "×");
    operator(x.o, MIX_Y, "×");
    svgNode("rect", { class: "lc-node", x: x.o - 25, y: 98, width: 50, height: 26, rx: 13 }, svg);
    svgLabel(svg, x.o, 115.5, "tanh", { class: "lc-text", "text-anchor": "middle" });

    const text = (tx, ty, anchor) => svgNode("text", { class: "lc-text lc-halo", x: tx, y: ty, "text-anchor": anchor }, svg);
    const labels = {
      cIn: text(wide ? 12 : 4, wide ? 43 : 29, "start"),
      cInValue: text(4, 46, "start"),
      kept: text((x.f + xMix) / 2 + (wide ? 0 : 8), wide ? 43 : 29, "middle"),
      keptValue: text((x.f + xMix) / 2 + 8, 46, "middle"),
      cOut: text(width - (wide ? 12 : 8), 43, "end"),
      written: text(xMix + (wide ? 13 : -13), 116, wide ? "start" : "end"),
      squashed: text(x.o - 12, 150, "end"),
      h: text(wide ? x.o + 20 : width - 5, MIX_Y - 34, wide ? "start" : "end"),
      hValue: text(wide ? x.o + 20 : width - 3, MIX_Y - 17, wide ? "start" : "end"),
    };

    // Gate boxes: the squashing function with the present operating point on it.
    if (!wide) labels.hValue.classList.add("lc-small");
    const boxes = {};
    DRAWN.forEach((gate) => {
      const left = x[gate] - boxWidth / 2;
      const plotLeft = left + 9;
      const plotWidth = boxWidth - 18;
      const plotTop = BOX_TOP + 9 + titleLines * TITLE;
      const plotHeight = 40;
      const squash = gate === "g" ? Math.tanh : sigmoid;
      const low = gate === "g" ? -1 : 0;
      const px = (z) => plotLeft + ((z + Z_MAX) / (2 * Z_MAX)) * plotWidth;
      const py = (v) => plotTop + ((1 - v) / (1 - low)) * plotHeight;
      svgNode("path", { class: "lc-track", d: "M" + x[gate] + "," + (boxFoot + 20) + "V" + boxFoot }, svg);
      svgNode("path", { class: "lc-chevron", d: "M-5,4L0,-3L5,4", transform: "translate(" + x[gate] + "," + (boxFoot + 10) + ")" }, svg);
      svgNode("rect", { class: "lc-box lc-stroke-" + gate, x: left, y: BOX_TOP, width: boxWidth, height: boxHeight, rx: 10 }, svg);
      svgNode("path", { class: "lc-axis", d: "M" + plotLeft + "," + py(0) + "h" + plotWidth + "M" + px(0) + "," + plotTop + "v" + plotHeight }, svg);
      let d = "";
      for (let k = 0; k <= 48; k++) {
        const z = -Z_MAX + (k * 2 * Z_MAX) / 48;
        d += (k ? "L" : "M") + px(z).toFixed(2) + "," + py(squash(z)).toFixed(2);
      }
      svgNode("path", { class: "lc-curve lc-stroke-" + gate, d: d }, svg);
      const squashName = gate === "g" ? "tanh" : "σ"; // in the corner that neither curve enters
      if (wide) svgLabel(svg, left + 10, plotTop + 12, squashName, { class: "lc-text lc-muted" });
      else svgLabel(svg, left + boxWidth - 6, BOX_TOP + TITLE, squashName, { class: "lc-text lc-muted lc-tiny", "text-anchor": "end" });
      boxes[gate] = {
        drop: svgNode("line", { class: "lc-drop" }, svg),
        dot: svgNode("circle", { class: "lc-dot lc-fill-" + gate, r: 5.5 }, svg),
        label: svgNode("text", { class: "lc-text lc-strong", x: left + (wide ? 10 : 7), y: BOX_TOP + TITLE }, svg),
        value: svgNode("text", { class: "lc-text lc-strong", x: left + 7, y: BOX_TOP + 2 * TITLE - 2 }, svg),
        place: (z) => [px(z), py(squash(z)), py(0)],
      };
    });

    return function update(z, sim, t) {
      const before = sim.c[t - 1];
      const now = sim.c[t];
      const gate = {};
      GATES.forEach((name) => (gate[name] = sim[name][t - 1]));
      const largest = Math.max(1, ...sim.c.map(Math.abs));
      const value = {
        cIn: before,
        kept: gate.f * before,
        cOut: now,
        written: gate.i * gate.g,
        squashed: Math.tanh(now),
        h: sim.h[t],
        f: gate.f,
        i: gate.i,
        g: gate.g,
        o: gate.o,
      };
      for (const name in flows) {
        const belt = colour[name] === "c" && name !== "written";
        const size = Math.abs(value[name]) / (belt ? largest : 1);
        flows[name].style.strokeWidth = (size * (belt ? 15 : 11)).toFixed(2) + "px";
        flows[name].classList.toggle("lc-negative", value[name] < 0);
      }
      setSvgLabel(labels.cIn, "$c$_{" + (t - 1) + "}" + (wide ? " = " + fixed(before, 3) : ""));
      setSvgLabel(labels.cInValue, wide ? "" : fixed(before, 3));
      setSvgLabel(labels.kept, "$f$·$c$_{" + (t - 1) + "}" + (wide ? " = " + fixed(value.kept, 3) : ""));
      setSvgLabel(labels.keptValue, wide ? "" : fixed(value.kept, 3));
      setSvgLabel(labels.cOut, "$c$_{" + t + "} = " + fixed(now, 3));
      setSvgLabel(labels.written, "$i$·$g$ = " + fixed(value.written, 3));
      setSvgLabel(labels.squashed, (wide ? "tanh $c$_{" + t + "} = " : "") + fixed(value.squashed, 3));
      setSvgLabel(labels.h, "$h$_{" + t + "}" + (wide ? " =" : ""));
      setSvgLabel(labels.hValue, fixed(value.h, 3));
      DRAWN.forEach((name) => {
        const zNow = z[name][t - 1];
        const [dotX, dotY, zeroY] = boxes[name].place(zNow);
        boxes[name].dot.setAttribute("cx", dotX);
        boxes[name].dot.setAttribute("cy", dotY);
        const drop = boxes[name].drop;
        drop.setAttribute("x1", dotX);
        drop.setAttribute("x2", dotX);
        drop.setAttribute("y1", dotY);
        drop.setAttribute("y2", zeroY);
        setSvgLabel(boxes[name].label, "$" + name + "$" + (wide ? " = " + fixed(gate[name], 3) : ""));
        setSvgLabel(boxes[name].value, wide ? "" : fixed(gate[name], 3));
      });
    };
  }

  // ------------------------------------------------------------------ the strip charts
  const ROW = 19; // height of one gate's row

  function niceTop(value) {
    return [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15].find((top) => value <= top + 1e-9) || Math.ceil(value);
  }

  /** Left edge, column width and centre of step t: shared with the step slider, which sits under the columns. */
  function stripScale(width) {
    const left = 48;
    const column = (width - left - 4) / (T + 1);
    return { left: left, column: column, x: (t) => left + (t + 0.5) * column };
  }

  function drawStrips(svg, width, sim, selected) {
    svg.replaceChildren();
    const scale = stripScale(width);
    const right = width - 4;
    const muted = { class: "lc-text lc-muted", "text-anchor": "end" };
    const heading = (y, markup) => svgLabel(svg, scale.left, y, markup, { class: "lc-text lc-strong" });
    const band = svgNode("rect", { class: "lc-band", x: scale.x(selected) - scale.column / 2, y: 2, width: scale.column, rx: 5 }, svg);
    let y = 0;

    heading((y += 16), "gates");
    y += 6;
    DRAWN.forEach((gate) => {
      const signed = gate === "g";
      const base = y + ROW - 3;
      const zero = signed ? base - (ROW - 5) / 2 : base;
      svgLabel(svg, scale.left - 8, base, "$" + gate + "$", muted);
      svgNode("line", { class: "lc-grid", x1: scale.left, x2: right, y1: zero, y2: zero }, svg);
      sim[gate].forEach((value, k) => {
        const height = (Math.abs(value) * (ROW - 5)) / (signed ? 2 : 1);
        svgNode(
          "rect",
          {
            class: "lc-bar lc-fill-" + gate,
            x: scale.x(k + 1) - scale.column * 0.34,
            width: scale.column * 0.68,
            y: value < 0 ? zero : zero - height,
            height: Math.max(height, 0.01),
          },
          svg
        );
      });
      y += ROW;
    });

    const plot = (name, height, markup, values, low, high, ticks, format, toUnit) => {
      heading((y += 24), markup);
      const top = y + 13;
      const py = (v) => top + (1 - (toUnit(v) - low) / (high - low)) * height;
      ticks.forEach((tick) => {
        const ty = py(tick);
        svgNode("line", { class: "lc-grid", x1: scale.left, x2: right, y1: ty, y2: ty }, svg);
        svgLabel(svg, scale.left - 8, ty + 4.5, format(tick), muted);
      });
      const points = values.map((v, t) => (v === null ? null : [scale.x(t), py(v), t])).filter(Boolean);
      if (name !== "grad") {
        points.forEach(([cx, cy]) => svgNode("line", { class: "lc-stem lc-stroke-" + name, x1: cx, x2: cx, y1: py(0), y2: cy }, svg));
      }
      svgNode("path", { class: "lc-line lc-stroke-" + name, "data-line": name, d: "M" + points.map((p) => p[0].toFixed(1) + "," + p[1].toFixed(2)).join("L") }, svg);
      points.forEach(([cx, cy, t]) => {
        const here = t === selected;
        svgNode("circle", { class: "lc-point lc-fill-" + name + (here ? " lc-here" : ""), cx: cx, cy: cy, r: here ? 6 : 3.5 }, svg);
      });
      y = top + height;
    };
    const identity = (v) => v;
    const signedRange = (values, least) => {
      const top = niceTop(Math.max(least, ...values.map(Math.abs)));
      const bottom = values.some((v) => v < -0.005 * top) ? -top : 0;
      return [bottom, top, bottom < 0 ? [bottom, 0, top] : [0, top]];
    };
    const tickText = (v) => fixed(v, Number.isInteger(v) ? 0 : 1);
    const [cLow, cHigh, cTicks] = signedRange(sim.c, 0.1);
    plot("c", 54, "cell state $c$_{" + selected + "} = " + fixed(sim.c[selected], 3), sim.c, cLow, cHigh, cTicks, tickText, identity);
    const [hLow, hHigh, hTicks] = signedRange(sim.h.slice(1), 0.1);
    const shown = sim.h.map((v, t) => (t === 0 ? null : v)); // h_0 plays no part when the gates are set by hand
    plot("h", 46, "hidden state $h$_{" + selected + "} = " + fixed(sim.h[selected], 3), shown, hLow, hHigh, hTicks, tickText, identity);

    const lowest = Math.min(-1, Math.floor(Math.log10(Math.min(...sim.dcT_dc)) + 1e-9));
    const stride = Math.ceil(-lowest / 3);
    const decades = [];
    for (let e = 0; e >= lowest; e -= stride) decades.push(e);
    const gradient = "gradient ∂$c$_{" + T + "}/∂$c$_{" + selected + "} = " + compact(sim.dcT_dc[selected]);
    plot("grad", 66, gradient, sim.dcT_dc, lowest, 0, decades.map((e) => Math.pow(10, e)), (v) => powerOfTen(Math.round(Math.log10(v))), Math.log10);

    band.setAttribute("height", y + 6);
    y += 22;
    for (let t = 0; t <= T; t++) {
      svgLabel(svg, scale.x(t), y, String(t), {
        class: "lc-text lc-tiny" + (t === selected ? " lc-strong" : " lc-muted"),
        "text-anchor": "middle",
      });
    }
    svgLabel(svg, scale.left - 8, y, "$t$", muted);
    y += 6;
    svg.setAttribute("viewBox", "0 0 " + width + " " + y);
    svg.setAttribute("width", width);
    svg.setAttribute("height", y);
  }

  // ------------------------------------------------------------------ one figure
  const ICON = {
    back: "M11,2L4,8L11,14ZM2,2H4V14H2Z",
    forward: "M5,2L12,8L5,14ZM12,2H14V14H12Z",
    play: "M4,2L13,8L4,14Z",
    pause: "M3,2H6.5V14H3ZM9.5,2H13V14H9.5Z",
    reset: "M8,2.5A5.5,5.5 0 1 1 2.8,6.2L4.7,6.9A3.5,3.5 0 1 0 8,4.5V7L4,3.5L8,0Z",
  };
  const PLAY_MS = 900;
  let figuresMade = 0;

  function makeFigure(container) {
    const presetKey = container.dataset.preset || "bit";
    if (!(presetKey in PRESETS)) {
      throw new Error('data-preset must be one of ' + Object.keys(PRESETS).join(", ") + ', got "' + presetKey + '"');
    }
    const firstStep = container.dataset.step === undefined ? 2 : Number(container.dataset.step);
    if (!Number.isInteger(firstStep) || firstStep < 1 || firstStep > T) {
      throw new Error("data-step must be a whole number from 1 to " + T + ', got "' + container.dataset.step + '"');
    }
    const uid = "lstm-cell-" + ++figuresMade + "-";
    const state = { preset: presetKey, z: null, c0: 0, t: firstStep, edited: false, timer: null, width: 0 };

    // ---- build the page elements once
    const live = htmlNode("div", { class: "lc-live", role: "group", "aria-label": "The LSTM cell, driven by hand: interactive figure" });

    const head = htmlNode("div", { class: "lc-head" }, live);
    const presetField = htmlNode("div", { class: "lc-field lc-field-preset" }, head);
    htmlNode("label", { for: uid + "preset", text: "Input pattern" }, presetField);
    const presetSelect = htmlNode("select", { id: uid + "preset" }, presetField);
    for (const key in PRESETS) htmlNode("option", { value: key, text: PRESETS[key].title }, presetSelect);
    const startField = htmlNode("div", { class: "lc-field lc-field-start" }, head);
    const startLabel = htmlNode("label", { for: uid + "c0" }, startField);
    const startRange = htmlNode("input", { type: "range", id: uid + "c0", min: -2, max: 2, step: 0.1 }, startField);
    const hint = htmlNode("p", { class: "lc-hint" }, live);

    const cellSvg = svgNode("svg", { class: "lc-svg lc-cell", role: "img" });
    live.appendChild(cellSvg);

    const sliders = {};
    const gateGrid = htmlNode("div", { class: "lc-gates" }, live);
    DRAWN.forEach((gate) => {
      const field = htmlNode("div", { class: "lc-gate lc-gate-" + gate }, gateGrid);
      const label = htmlNode("label", { for: uid + gate }, field);
      htmlNode("span", { class: "lc-gate-name", text: GATE_NAME[gate] + " " }, label);
      const number = htmlNode("span", { class: "lc-number" }, label);
      const range = htmlNode("input", { type: "range", id: uid + gate, min: -Z_MAX, max: Z_MAX, step: 0.1, "data-gate": gate }, field);
      const all = htmlNode("button", { type: "button", class: "lc-all", "data-all": gate }, field);
      all.append("Apply to all steps");
      htmlNode("span", { class: "lc-hidden", text: " for the " + GATE_NAME[gate].toLowerCase() }, all);
      range.addEventListener("input", () => {
        state.z[gate][state.t - 1] = Number(range.value);
        state.edited = true;
        render();
      });
      all.addEventListener("click", () => {
        state.z[gate].fill(state.z[gate][state.t - 1]);
        state.edited = true;
        render();
      });
      sliders[gate] = { range: range, number: number };
    });

    const sums = htmlNode("div", { class: "lc-sums" }, live);
    const cSum = htmlNode("p", {}, sums);
    const hSum = htmlNode("p", {}, sums);
    const halfSum = htmlNode("p", {}, sums);

    const player = htmlNode("div", { class: "lc-player" }, live);
    const buttons = {};
    const addButton = (name, label, action) => {
      const button = htmlNode("button", { type: "button", class: "lc-button", "data-action": name }, player);
      const icon = svgNode("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", focusable: "false" }, button);
      const path = svgNode("path", { d: ICON[name] }, icon);
      const text = htmlNode("span", { text: label }, button);
      button.addEventListener("click", action);
      buttons[name] = { button: button, path: path, text: text };
    };
    addButton("back", "Back", () => { pause(); select(state.t - 1); });
    addButton("play", "Play", () => (state.timer === null ? play() : pause()));
    addButton("forward", "Next", () => { pause(); select(state.t + 1); });
    addButton("reset", "Reset", () => { pause(); state.t = 1; load(state.preset); });

    const strips = svgNode("svg", { class: "lc-svg lc-strips", role: "img" });
    live.appendChild(strips);
    const stepField = htmlNode("div", { class: "lc-step" }, live);
    const stepRange = htmlNode("input", { type: "range", id: uid + "step", min: 1, max: T, step: 1 }, stepField);
    const stepLabel = htmlNode("label", { for: uid + "step" }, stepField);

    const notes = htmlNode("p", { class: "lc-notes" }, live);
    setHtmlLabel(
      notes,
      "Thick line: large value; dashed line: negative value (on the belt, relative to the largest |$c$|). The gradient is the product of the " +
        "forget gates, ∂$c$_{" + T + "}/∂$c$_{t} = $f$_{t+1}·…·$f$_{" + T + "}. It is the direct path along the belt. Gates set by hand " +
        "do not read $h$, so here it is also the total derivative, exactly. In a trained LSTM the gates read $h$_{t−1} and add paths."
    );

    const details = htmlNode("details", { class: "lc-details" }, live);
    htmlNode("summary", { text: "All numbers as a table" }, details);
    const scroller = htmlNode("div", { class: "lc-scroll", tabindex: 0, role: "region", "aria-label": "Table of all numbers, scrolls sideways" }, details);
    const table = htmlNode("table", { class: "lc-table" }, scroller);
    htmlNode("caption", { text: "Every step in numbers" }, table);
    const headRow = htmlNode("tr", {}, htmlNode("thead", {}, table));
    const columns = ["$t$", "$z$_{i}", "$z$_{f}", "$z$_{g}", "$z$_{o}", "$i$", "$f$", "$g$", "$o$", "$c$_{t}", "$h$_{t}", "∂$c$_{" + T + "}/∂$c$_{t}", "half-life"];
    columns.forEach((markup) => setHtmlLabel(htmlNode("th", { scope: "col" }, headRow), markup));
    const tableBody = htmlNode("tbody", {}, table);

    const announcer = htmlNode("p", { class: "lc-hidden lc-announcer", "aria-live": "polite" }, live);

    // ---- behaviour
    let updateCell = null;
    let announceTimer = null;

    function load(key) {
      const preset = PRESETS[key];
      state.preset = key;
      state.z = {};
      GATES.forEach((gate) => (state.z[gate] = preset.z[gate].slice()));
      state.c0 = preset.c0;
      state.edited = false;
      render();
    }

    function select(t) {
      state.t = Math.min(T, Math.max(1, t));
      render();
    }

    function play() {
      if (state.t === T) state.t = 1;
      state.timer = window.setInterval(() => {
        if (state.t >= T) pause();
        else select(state.t + 1);
      }, PLAY_MS);
      render();
    }

    function pause() {
      if (state.timer === null) return;
      window.clearInterval(state.timer);
      state.timer = null;
      render();
    }

    /** Screen readers hear the state at rest, at most every half second, and every two seconds while it plays. */
    function announce() {
      if (announceTimer !== null) return;
      announceTimer = window.setTimeout(() => {
        announceTimer = null;
        announcer.textContent = summary();
      }, state.timer === null ? 500 : 2000);
    }

    function summary() {
      const sim = simulate(state.z, state.c0);
      const t = state.t;
      const gates = DRAWN.map((gate) => GATE_NAME[gate].toLowerCase() + " " + fixed(sim[gate][t - 1], 3)).join(", ");
      return (
        "Step " + t + " of " + T + ": " + gates + ". Cell state goes from " + fixed(sim.c[t - 1], 3) + " to " + fixed(sim.c[t], 3) +
        ", hidden state is " + fixed(sim.h[t], 3) + ". Gradient of c" + T + " with respect to c" + t + ": " + compact(sim.dcT_dc[t]) + "."
      );
    }

    function renderTable(sim) {
      const rows = [];
      for (let t = 0; t <= T; t++) {
        const row = htmlNode("tr", t === state.t ? { class: "lc-current", "aria-current": "step" } : {});
        htmlNode("th", { scope: "row", text: String(t) }, row);
        const cell = (text) => htmlNode("td", { text: text }, row);
        GATES.forEach((gate) => cell(t === 0 ? "" : fixed(state.z[gate][t - 1], 3)));
        GATES.forEach((gate) => cell(t === 0 ? "" : fixed(sim[gate][t - 1], 3)));
        cell(fixed(sim.c[t], 3));
        cell(t === 0 ? "" : fixed(sim.h[t], 3));
        cell(compact(sim.dcT_dc[t]));
        cell(t === 0 ? "" : steps(sim.halfLife[t - 1]));
        rows.push(row);
      }
      tableBody.replaceChildren(...rows);
    }

    function render() {
      const sim = simulate(state.z, state.c0);
      const t = state.t;
      if (updateCell) updateCell(state.z, sim, t);
      if (state.width) drawStrips(strips, state.width, sim, t);

      presetSelect.value = state.preset;
      hint.textContent = PRESETS[state.preset].hint + (state.edited ? " (You have edited it; Reset restores it.)" : "");
      setHtmlLabel(startLabel, "Start $c$_{0} = " + fixed(state.c0, 1));
      startRange.value = state.c0;
      DRAWN.forEach((gate) => {
        const z = state.z[gate][t - 1];
        sliders[gate].range.value = z;
        sliders[gate].range.setAttribute("aria-valuetext", "pre-activation " + fixed(z, 2) + ", gate value " + fixed(sim[gate][t - 1], 3));
        setHtmlLabel(sliders[gate].number, "$z$_{" + gate + "} = " + fixed(z, 2));
      });
      const n = (value) => fixed(value, 4);
      const factor = (value) => (value < 0 ? "(" + n(value) + ")" : n(value));
      const before = "$c$_{" + (t - 1) + "}";
      setHtmlLabel(
        cSum,
        "$c$_{" + t + "} = $f$·" + before + " + $i$·$g$ ≈ " + n(sim.f[t - 1]) + "·" + factor(sim.c[t - 1]) + " + " + n(sim.i[t - 1]) + "·" +
          factor(sim.g[t - 1]) + " ≈ " + n(sim.c[t])
      );
      setHtmlLabel(hSum, "$h$_{" + t + "} = $o$·tanh($c$_{" + t + "}) ≈ " + n(sim.o[t - 1]) + "·" + factor(Math.tanh(sim.c[t])) + " ≈ " + n(sim.h[t]));
      setHtmlLabel(halfSum, "half-life = ln ½ / ln $f$ ≈ " + steps(sim.halfLife[t - 1]) + " steps at $f$ ≈ " + n(sim.f[t - 1]));

      stepRange.value = t;
      stepRange.setAttribute("aria-valuetext", "step " + t + " of " + T);
      setHtmlLabel(stepLabel, "Step $t$ = " + t + " of " + T);
      const playing = state.timer !== null;
      buttons.play.text.textContent = playing ? "Pause" : "Play";
      buttons.play.path.setAttribute("d", playing ? ICON.pause : ICON.play);
      // aria-disabled, not disabled: a disabled button would lose the keyboard focus in the middle of stepping
      buttons.back.button.setAttribute("aria-disabled", String(t === 1));
      buttons.forward.button.setAttribute("aria-disabled", String(t === T));
      cellSvg.setAttribute("aria-label", "LSTM cell. " + summary());
      strips.setAttribute(
        "aria-label",
        "Charts over steps 0 to " + T + ". Cell state: " + sim.c.map((v) => fixed(v, 2)).join(", ") + ". Hidden state from step 1: " +
          sim.h.slice(1).map((v) => fixed(v, 2)).join(", ") + ". Gradient along the belt: " + sim.dcT_dc.map(compact).join(", ") + "."
      );
      renderTable(sim);
      announce();
    }

    function layout() {
      const width = Math.floor(live.clientWidth - parseFloat(getComputedStyle(live).paddingLeft) * 2);
      if (width <= 0 || width === state.width) return;
      state.width = width;
      live.classList.toggle("lc-narrow", width < WIDE);
      updateCell = buildCell(cellSvg, width);
      const scale = stripScale(width);
      const thumb = 20; // as in the style sheet: the thumb's centre must stand under the column's centre
      stepRange.style.marginLeft = scale.x(1) - thumb / 2 + "px";
      stepRange.style.width = scale.x(T) - scale.x(1) + thumb + "px";
      render();
    }

    presetSelect.addEventListener("change", () => { pause(); load(presetSelect.value); });
    startRange.addEventListener("input", () => {
      state.c0 = Number(startRange.value);
      state.edited = true;
      render();
    });
    stepRange.addEventListener("input", () => { pause(); select(Number(stepRange.value)); });
    const pick = (event) => {
      const box = strips.getBoundingClientRect();
      const scale = stripScale(state.width);
      pause();
      select(Math.floor((event.clientX - box.left - scale.left) / scale.column));
    };
    strips.addEventListener("pointerdown", (event) => {
      pick(event);
      stepRange.focus({ preventScroll: true }); // the arrow keys go on from the step that was clicked
      event.preventDefault();
    });
    strips.addEventListener("pointermove", (event) => { if (event.buttons & 1) pick(event); });

    load(presetKey);
    container.appendChild(live);
    container.classList.add("lc-ready");
    layout();
    new ResizeObserver(layout).observe(live);
  }

  function init(root) {
    (root || document).querySelectorAll(".lstm-cell-figure:not(.lc-ready)").forEach((container) => {
      try {
        makeFigure(container);
      } catch (error) {
        container.classList.add("lc-failed"); // brings the static picture back
        console.error("lstm-cell: " + error.message);
      }
    });
  }

  window.LSTMCellFigure = Object.freeze({ simulate: simulate, halfLife: halfLife, presets: PRESETS, T: T, init: init });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => init());
  else init();
})();
