// Draws the charts of a page from the JSON beside them, in the page's colours, light or dark.
"use strict";
(function () {
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const escape = (v) => String(v).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

  function si(value, unit) {
    if (value === null || value === undefined || !isFinite(value)) return "–";
    const a = Math.abs(value), u = unit ? " " + unit : "";
    if (a === 0) return "0" + u;
    const steps = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
    if (a >= 1e21 || a < 1e-3) return value.toExponential(1) + u;
    for (const [scale, prefix] of steps) if (a >= scale) return +(value / scale).toPrecision(3) + (prefix ? " " + prefix + (unit || "") : u);
    return +value.toPrecision(2) + u;
  }
  // Functions that an option may name, as {"$fn": name, "args": [...]}; data cannot name code.
  const functions = {
    si: (unit) => (v) => si(v && v.value !== undefined ? v.value : v, unit),
    plain: (suffix) => (v) => +(+(v && v.value !== undefined ? v.value : v)).toPrecision(3) + (suffix || ""),
    percent: () => (v) => Math.round((v && v.value !== undefined ? v.value : v) * 100) + " %",
    point: (dimensions) => (p) => {
      const rows = dimensions.map(([label, index, unit]) => {
        const v = p.value[index];
        return `<tr><td style="padding-right:1em;opacity:.7">${escape(label)}</td><td style="text-align:right">${escape(typeof v === "number" ? si(v, unit) : v)}</td></tr>`;
      });
      const name = typeof p.value[p.value.length - 1] === "string" ? p.value[p.value.length - 1] : p.name || p.seriesName;
      return `<b>${escape(name)}</b><table style="width:auto;font-size:12px">${rows.join("")}</table>`;
    },
    stack: (unit) => (list) => {
      const rows = list.filter((p) => p.value).map((p) => `${p.marker}${escape(p.seriesName)} <b>${escape(si(Array.isArray(p.value) ? p.value[1] : p.value, unit))}</b>`);
      return `<b>${escape(list[0].axisValueLabel)}</b><br>${rows.join("<br>")}`;
    },
    label: (index) => (p) => String(p.value[index]),
    span: (labels) => (params, api) => {
      const a = api.coord([api.value(1), api.value(0)]), b = api.coord([api.value(2), api.value(0)]);
      const height = Math.min(26, api.size([0, 1])[1] * 0.62), left = Math.min(a[0], b[0]), width = Math.max(Math.abs(b[0] - a[0]), 2);
      const box = echarts.graphic.clipRectByRect({ x: left, y: a[1] - height / 2, width, height }, params.coordSys);
      const words = labels[params.dataIndex];
      return { type: "group", children: [
        { type: "rect", shape: box || { x: left, y: a[1] - height / 2, width, height }, style: { fill: api.visual("color") } },
        { type: "text", x: left + width + 6, y: a[1], style: { text: words, fill: css("--soft"), fontSize: 12, verticalAlign: "middle" } } ] };
    },
    whisker: () => (params, api) => {
      const at = api.value(0), low = api.coord([api.value(1), at]), high = api.coord([api.value(2), at]);
      const style = { stroke: api.visual("color"), lineWidth: 1.3 };
      const tick = (x) => ({ type: "line", shape: { x1: x, y1: low[1] - 4, x2: x, y2: low[1] + 4 }, style });
      return { type: "group", children: [{ type: "line", shape: { x1: low[0], y1: low[1], x2: high[0], y2: high[1] }, style }, tick(low[0]), tick(high[0])] };
    },
  };
  function resolve(node) {
    if (Array.isArray(node)) return node.length && typeof node[0] === "number" ? node : node.map(resolve);
    if (node && typeof node === "object") {
      if (typeof node.$fn === "string" && Object.hasOwn(functions, node.$fn)) return functions[node.$fn](...(node.args || []));
      if (typeof node.$color === "string") return css(`--${node.$color}`);
      return Object.fromEntries(Object.entries(node).map(([k, v]) => [k, resolve(v)]));
    }
    return node;
  }
  function themed(option) {
    const ink = css("--ink"), soft = css("--soft"), line = css("--line"), hair = css("--hair"), paper = css("--paper");
    const text = { color: ink, fontFamily: css("--sans") };
    const axis = (a) => Object.assign({ nameTextStyle: { color: soft, fontSize: 12 }, nameLocation: "middle" }, a, {
      axisLine: Object.assign({ lineStyle: { color: line } }, a.axisLine), axisTick: { lineStyle: { color: line } },
      axisLabel: Object.assign({ color: soft, fontSize: 11.5, hideOverlap: true }, a.axisLabel), splitLine: Object.assign({ lineStyle: { color: hair } }, a.splitLine), minorSplitLine: { show: false },
    });
    const o = Object.assign({ animation: false, textStyle: text, aria: { enabled: true, label: { enabled: false } } }, option);
    for (const key of ["xAxis", "yAxis"]) if (o[key]) o[key] = Array.isArray(o[key]) ? o[key].map(axis) : axis(o[key]);
    if (o.legend) o.legend = Object.assign({ top: 0, left: 0, icon: "roundRect", itemWidth: 11, itemHeight: 11, itemGap: 16, textStyle: { color: soft, fontSize: 12.5 }, inactiveColor: line, type: "scroll", pageTextStyle: { color: soft } }, o.legend);
    if (o.tooltip) o.tooltip = Object.assign({ confine: true, backgroundColor: paper, borderColor: line, borderWidth: 1, padding: [8, 11], textStyle: { color: ink, fontSize: 12.5 }, extraCssText: "box-shadow:0 4px 16px rgb(0 0 0 / 14%)" }, o.tooltip);
    if (o.parallel) o.parallel = Object.assign({}, o.parallel, { parallelAxisDefault: Object.assign({ axisLine: { lineStyle: { color: soft } }, axisTick: { lineStyle: { color: line } }, axisLabel: { color: soft, fontSize: 11 }, nameTextStyle: { color: ink, fontSize: 11.5, lineHeight: 14 }, areaSelectStyle: { color: css("--accent"), opacity: 0.2, borderColor: css("--accent") } }, o.parallel.parallelAxisDefault) });
    return o;
  }

  const charts = [];
  function draw() {
    for (const c of charts.splice(0)) c.dispose();
    for (const holder of document.querySelectorAll(".chart")) {
      const variants = JSON.parse(holder.nextElementSibling.textContent);
      const picked = document.getElementById(holder.id + "-pick");
      const chart = echarts.init(holder, null, { renderer: holder.dataset.renderer || "svg" });
      chart.setOption(themed(resolve(variants[picked ? +picked.value : 0])));
      holder.setAttribute("role", "img");
      const caption = holder.parentElement.querySelector("figcaption");
      if (caption) holder.setAttribute("aria-label", caption.textContent);
      charts.push(chart);
      if (holder.dataset.group) { chart.group = holder.dataset.group; echarts.connect(holder.dataset.group); }
    }
  }
  function theme(name) { root.dataset.theme = name; draw(); }
  let chosen = null;
  try { chosen = localStorage.getItem("tapeout-theme"); } catch (e) { /* a file:// page may have no storage */ }
  const system = matchMedia("(prefers-color-scheme: dark)");
  theme(chosen || (system.matches ? "dark" : "light"));
  system.addEventListener("change", (e) => { if (!chosen) theme(e.matches ? "dark" : "light"); });
  document.getElementById("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("tapeout-theme", chosen); } catch (e) { /* as above */ }
    theme(chosen);
  });
  for (const pick of document.querySelectorAll("select[id$='-pick']")) pick.addEventListener("change", draw);
  addEventListener("resize", () => charts.forEach((c) => c.resize()));
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((d) => { d.open = true; });
    if (root.dataset.theme === "dark") { root.dataset.before = "dark"; theme("light"); }
  });
  addEventListener("afterprint", () => { if (root.dataset.before) { delete root.dataset.before; theme("dark"); } });

  const links = new Map([...document.querySelectorAll("nav.contents a")].map((a) => [a.hash.slice(1), a]));
  const watch = new IntersectionObserver((seen) => {
    for (const e of seen) if (e.isIntersecting) { links.forEach((a) => a.classList.remove("here")); links.get(e.target.id)?.classList.add("here"); }
  }, { rootMargin: "0px 0px -70% 0px" });
  document.querySelectorAll("main section[id]").forEach((s) => watch.observe(s));
})();
