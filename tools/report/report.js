"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const colours = ["#2563b8", "#1f8a4c", "#b7791f", "#8e44ad", "#c0392b", "#0f8b8d", "#6b7a8f", "#d35f8d", "#5a6ff0", "#7a9e1f"];

function add(parent, tag, attributes = {}, text) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
}
const fixed = (value, digits = 2) => Number(value).toFixed(digits);
const point = p => Object.entries(p).map(([k, v]) => `${k}=${v}`).join(" ") || "-";
const section = title => (add(page, "h2", {}, title), page);

function tile(parent, value, what) {
    const node = add(parent, "div", {class: "tile"});
    add(node, "b", {}, value);
    add(node, "span", {}, what);
}

// Columns: [heading, left-aligned]; cells: text, or [text, class].
function table(parent, columns, rows) {
    const node = add(add(parent, "div", {class: "wide"}), "table");
    const head = add(add(node, "thead"), "tr");
    for (const [name, left] of columns) add(head, "th", left ? {class: "l"} : {}, name);
    const body = add(node, "tbody");
    for (const row of rows) {
        const line = add(body, "tr");
        row.forEach((cell, i) => {
            const [text, style] = Array.isArray(cell) ? cell : [cell, ""];
            const td = add(line, "td", {class: (columns[i][1] ? "l " : "") + (style || "")});
            if (text instanceof Node) td.appendChild(text); else td.textContent = text;
        });
    }
}

function dot(u, x, y, colour, radius) {
    const c = u.ctx;
    c.beginPath();
    c.arc(x, y, radius * devicePixelRatio, 0, 2 * Math.PI);
    c.fillStyle = colour;
    c.fill();
}

// Time of every candidate against one tunable: bars of three standard errors, the default as a
// square, the winner in green.
function sweepPlot(parent, kernel, tunable) {
    const timed = kernel.trials.filter(t => t.state === "timed" || t.state === "ranked");
    const us = t => t.state === "timed" ? t.us : t.model_us;
    const values = [...new Set(timed.map(t => Number(t.point[tunable])))].sort((a, b) => a - b);
    const spots = timed.map(t => ({
        x: values.indexOf(Number(t.point[tunable])), y: us(t), e: 3 * (t.noise_us || 0),
        chosen: point(t.point) === point(kernel.point), first: point(t.point) === point(kernel.default_point)}));
    const top = Math.max(...spots.map(s => s.y + s.e)) * 1.12;
    const draw = u => {
        for (const s of spots) {
            const x = u.valToPos(s.x, "x", true), y = u.valToPos(s.y, "y", true);
            const colour = s.chosen ? "#1f8a4c" : s.first ? "#c0392b" : "#7f9bc0";
            u.ctx.strokeStyle = colour;
            u.ctx.lineWidth = devicePixelRatio;
            u.ctx.beginPath();
            u.ctx.moveTo(x, u.valToPos(Math.max(0, s.y - s.e), "y", true));
            u.ctx.lineTo(x, u.valToPos(s.y + s.e, "y", true));
            u.ctx.stroke();
            dot(u, x, y, colour, s.chosen || s.first ? 5 : 3.5);
        }
    };
    new uPlot({
        width: 330, height: 190, legend: {show: false}, cursor: {show: false},
        scales: {x: {time: false, range: [-0.5, values.length - 0.5]}, y: {range: [0, top]}},
        axes: [{label: tunable, labelSize: 18, size: 28, splits: values.map((_, i) => i), values: () => values.map(String), grid: {show: false}},
               {label: timed.some(t => t.state === "timed") ? "us" : "predicted us", labelSize: 18, size: 62}],
        series: [{}, {paths: () => null, points: {show: false}}],
        hooks: {draw: [draw]}}, [values.map((_, i) => i), values.map(() => null)], parent);
}

function sweeps(tune) {
    section(tune.measured ? "Sweeps" : "Sweeps, ranked by the static model (nothing was measured)");
    add(page, "p", {class: "note"}, "Each dot is a candidate; bars are three standard errors of the median. Red: the default, green: the one chosen" +
        " (one dot where both are the same).");
    const plots = add(page, "div", {class: "plots"});
    for (const kernel of tune.kernels) {
        const trials = kernel.trials.filter(t => t.state === "timed" || t.state === "ranked");
        if (trials.length === 0) continue;
        for (const tunable of Object.keys(kernel.default_point)) {
            if (new Set(trials.map(t => t.point[tunable])).size < 2) continue;
            const card = add(plots, "div", {class: "card"});
            add(card, "h3", {}, `${kernel.kernel}, ${kernel.rows} row${kernel.rows === 1 ? "" : "s"}: ${tunable}`);
            add(card, "div", {class: "meta"}, kernel.shape);
            sweepPlot(card, kernel, tunable);
        }
    }
}

function tuneTables(tune) {
    section("Kernels: default against tuned");
    table(page, [["kernel", 1], ["step", 1], ["rows"], ["launches"], ["default", 1], ["chosen", 1], [tune.measured ? "default us" : "predicted default us"], [tune.measured ? "us" : "predicted us"], ["± us"],
            [tune.measured ? "gain" : "predicted gain"], ["from", 1]],
        tune.kernels.map(k => [k.kernel, k.label, k.rows, k.launches, point(k.default_point), point(k.point), fixed(k.default_us),
            fixed(k.us), fixed(k.noise_us, 3), [k.us > 0 ? fixed(k.default_us / k.us) + "x" : "-", k.us < k.default_us ? "good" : ""], k.source]));
    const out = tune.kernels.flatMap(k => k.trials.filter(t => ["refused", "wrong", "failed", "pruned"].includes(t.state))
        .map(t => [k.kernel, point(t.point), [t.state, t.state === "wrong" ? "bad" : ""], [t.why || "", "wrap"]]));
    if (out.length > 0) {
        const more = add(page, "details");
        add(more, "summary", {}, `${out.length} candidates that are out, and why`);
        table(more, [["kernel", 1], ["point", 1], ["state", 1], ["why", 1]], out);
    }
    if (tune.plans.length === 0) return;
    section("Whole plans, end to end");
    table(page, [["rows"], ["variant", 1], ["us"], ["± us"], ["chosen", 1]],
        tune.plans.flatMap(p => p.variants.map(v => {
            const names = Object.keys(v.point);
            const off = names.filter(n => n !== "tuned kernels");
            const chosen = !names.includes("tuned kernels") && point(v.point) === p.without.map(n => n + "=off").join(" ") ||
                (names.length === 0 && p.without.length === 0);
            const name = names.includes("tuned kernels") ? "default" : off.length === 0 ? "tuned kernels" : "without " + off.join(", ");
            return [p.rows, [name, "wrap"], fixed(v.us), fixed(v.noise_us, 3), [chosen ? "yes" : "", "good"]];
        })));
    for (const p of tune.plans)
        add(page, "p", {class: "note"}, `${p.rows} rows: logits are ${p.kl.toExponential(1)} (KL) from those of the ${p.checked_with}.`);
}

const template = step => step.kernel.replace(/\.\d+$/, "");
function colourOf(plan) {
    const names = [...new Set(plan.steps.map(template))];
    return name => colours[names.indexOf(name) % colours.length];
}
function legend(parent, plan) {
    const node = add(parent, "div", {class: "legend"}), colour = colourOf(plan);
    for (const name of [...new Set(plan.steps.map(template))]) {
        const of = plan.steps.filter(s => template(s) === name);
        const item = add(node, "span");
        add(item, "i", {style: `background:${colour(name)}`});
        item.append(`${name} x${of.length}, ${fixed(of.reduce((sum, s) => sum + s.us, 0))} us`);
    }
}

function roofline(plan) {
    section(`Predicted roofline of ${plan.arch.name} (${plan.arch.example}), ${plan.rows} row${plan.rows === 1 ? "" : "s"}`);
    add(page, "p", {class: "note"}, `Memory ${plan.arch.gb_s} GB/s, arithmetic ${plan.arch.tflops} TFLOP/s, on paper. A dot is a step` +
        (plan.steps.some(s => s.measured) ? " (a ring: predicted by the cost model, filled: measured)." : ", its time predicted by the cost model."));
    const spots = plan.steps.filter(s => s.operations > 0 && s.bytes > 0 && s.us > 0)
        .map(s => ({x: s.operations / s.bytes, y: s.operations / s.us / 1e3, step: s}));
    const peak = plan.arch.tflops * 1e3, knee = peak / plan.arch.gb_s;
    const low = Math.min(...spots.map(s => s.x), 0.25) / 2, high = Math.max(...spots.map(s => s.x), knee) * 4;
    const bottom = Math.min(...spots.map(s => s.y), 1) / 2;
    const xs = [low, knee, high], roof = xs.map(x => Math.min(peak, x * plan.arch.gb_s));
    const colour = colourOf(plan);
    const card = add(page, "div", {class: "card"});
    new uPlot({
        width: 1100, height: 340, legend: {show: false}, cursor: {show: false},
        scales: {x: {time: false, distr: 3, range: [low, high]}, y: {distr: 3, range: [bottom, peak * 2]}},
        axes: [{label: "operations per byte", size: 36}, {label: "GFLOP/s", size: 70}],
        series: [{}, {stroke: "#1c2430", width: 1.5, points: {show: false}}],
        hooks: {draw: [u => {
            for (const s of spots) {
                const x = u.valToPos(s.x, "x", true), y = u.valToPos(s.y, "y", true);
                dot(u, x, y, colour(template(s.step)), 4.5);
                if (!s.step.measured) dot(u, x, y, "#fff", 2.5);
            }
        }]}}, [xs, roof], card);
    legend(card, plan);
}

function timeline(plan) {
    section(plan.rows === 1 ? "A decode step from left to right" : `A step of ${plan.rows} rows from left to right`);
    add(page, "p", {class: "note"}, `${plan.steps.length} launches, ${fixed(plan.us)} us in all ` +
        `(${plan.steps.filter(s => s.measured).length} of them measured, the others predicted); the roofline's predicted floor is ${fixed(plan.floor_us)} us.`);
    const card = add(page, "div", {class: "card"}), line = add(card, "div", {class: "timeline"}), colour = colourOf(plan);
    for (const s of plan.steps)
        add(line, "i", {style: `flex:${s.us} 0 0;background:${colour(template(s))}`, title: `${s.label}: ${s.kernel}, ${fixed(s.us)} us`});
    legend(card, plan);
    const more = add(page, "details");
    add(more, "summary", {}, "All steps");
    table(more, [["step", 1], ["kernel", 1], ["KiB"], ["MFLOP"], ["predicted floor us"], ["us"], ["predicted share"], ["time is", 1], ["bound by", 1]],
        plan.steps.map(s => [s.label, s.kernel, fixed(s.bytes / 1024, 1), fixed(s.operations / 1e6, 3), fixed(s.floor_us), fixed(s.us),
            fixed(100 * s.floor_us / s.us, 1) + " %", s.measured ? "measured" : "predicted", s.bound_by]));
}

function kernels(plan) {
    section(`Kernels, ${plan.rows} row${plan.rows === 1 ? "" : "s"}`);
    const known = v => v === undefined || v < 0 ? "-" : v;
    table(page, [["kernel", 1], ["launches"], ["VGPRs"], ["SGPRs"], ["LDS"], ["spills"], ["code"], ["compile ms"], ["constants, source, ISA", 1]],
        plan.kernels.map(k => {
            const cell = document.createElement("div");
            cell.append(k.spec);
            for (const [name, text] of [["source", k.source], ["ISA", k.isa]]) {
                if (!text) continue;
                const fold = add(cell, "details");
                add(fold, "summary", {}, name);
                add(fold, "pre", {}, text);
            }
            if (k.refused) add(cell, "div", {class: "bad"}, k.refused);
            const r = k.resources || {};
            return [k.name, k.launches, known(r.vgprs), known(r.sgprs), known(r.lds_bytes), known(r.spilled_vgprs), known(r.code_bytes),
                k.compile_ms > 0 ? fixed(k.compile_ms, 1) : "-", [cell, "wrap"]];
        }));
    const compiled = plan.kernels.filter(k => k.compile_ms > 0).sort((a, b) => b.compile_ms - a.compile_ms);
    if (compiled.length === 0) return;
    section(`Compile times, ${plan.rows} row${plan.rows === 1 ? "" : "s"}`);
    const card = add(page, "div", {class: "card"});
    for (const k of compiled) {
        const bar = add(card, "div", {class: "bar"});
        add(bar, "span", {}, k.name);
        add(add(bar, "div"), "i", {style: `width:${100 * k.compile_ms / compiled[0].compile_ms}%`});
        add(bar, "span", {}, fixed(k.compile_ms, 1) + " ms");
    }
}

add(page, "h1", {}, data.title);
add(page, "p", {class: "sub"}, data.subtitle);
const tiles = add(page, "div", {class: "tiles"});
const tune = data.autotune;
if (tune) {
    tile(tiles, (tune.measured ? "" : "predicted ") + fixed(tune.geometric_mean_gain) + "x", "geometric mean of default over tuned, all shapes");
    tile(tiles, String(tune.kernels.length), `shapes in ${fixed(tune.seconds, 1)} s by ${tune.strategy}`);
    for (const p of tune.plans)
        tile(tiles, `${fixed(p.us)} us`, `a step of ${p.rows} row${p.rows === 1 ? "" : "s"}; by default ${fixed(p.default_us)} us`);
}
for (const plan of data.plans) {
    const share = plan.us > 0 ? 100 * plan.floor_us / plan.us : 0;
    // The roofline is that of the data sheet, and some times may be those of the cost model.
    tile(tiles, `predicted ${fixed(share, 1)} %`, `of the roofline, ${plan.rows} row${plan.rows === 1 ? "" : "s"}: ${fixed(plan.floor_us)} of ${fixed(plan.us)} us`);
    tile(tiles, String(plan.steps.length), `launches of ${plan.kernels.length} kernels, ${plan.rows} row${plan.rows === 1 ? "" : "s"}`);
}
if (tune) {
    tuneTables(tune);
    sweeps(tune);
}
for (const plan of data.plans) {
    timeline(plan);
    roofline(plan);
    kernels(plan);
}
add(page, "p", {class: "note", id: "done"}, "Drawn with uPlot (MIT licence). This page needs no network.");
