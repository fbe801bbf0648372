"use strict"
const data = JSON.parse(document.getElementById("data").textContent)
const label = document.getElementById("label")
const MISSING = "#9a9a9a"
const maps = []

function rangeOf(values) {
  const known = values.filter(value => value !== null)
  return [Math.min(...known), Math.max(...known)]
}

function colorsOf({ values, categories }) {
  if (categories) return values.map(value => data.palette[value % data.palette.length])
  const [low, high] = rangeOf(values)
  const place = value => Math.round(((value - low) / (high - low || 1)) * (data.ramp.length - 1))
  return values.map(value => (value === null ? MISSING : data.ramp[place(value)]))
}

function textOf(name, face) {
  const { values, categories } = data.labels[name]
  const value = values[face]
  return `${name}: ${categories ? categories[value] : value === null ? "not known" : value}`
}

function textsOf(first) {
  const others = Object.keys(data.labels).filter(name => name !== first).slice(0, 4)
  return data.thumbnails.map((_, face) => [first, ...others].filter(Boolean).map(name => textOf(name, face)).join("\n"))
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}

function legendOf({ values, categories }) {
  if (!categories) {
    const [low, high] = rangeOf(values)
    const ramp = element("span", { className: "ramp" })
    ramp.style.background = `linear-gradient(to right, ${data.ramp.join(", ")})`
    return [element("span", {}, String(low)), ramp, element("span", {}, String(high))]
  }
  const used = categories.map((text, value) => [text, value]).filter(([, value]) => values.includes(value))
  if (used.length > data.palette.length) return [`${used.length} values, whose colours repeat`]
  return used.map(([text, value]) => {
    const swatch = element("span", { className: "swatch" })
    swatch.style.background = data.palette[value % data.palette.length]
    return element("span", {}, swatch, text)
  })
}

function paint() {
  const name = label?.value
  const colors = name ? colorsOf(data.labels[name]) : null
  const text = textsOf(name)
  document.getElementById("legend").replaceChildren(...(name ? legendOf(data.labels[name]) : []))
  for (const { source } of maps) {
    source.data = { ...source.data, thumbnail: data.thumbnails, text, ...(colors && { color: colors }) }
  }
}

function showKind({ source }, kind) {
  source.data = { ...source.data, x: source.data[`x ${kind}`], y: source.data[`y ${kind}`] }
}

function showTouched({ source, touched }) {
  const face = source.selected.indices[0]
  touched.replaceChildren()
  if (face === undefined) return
  const image = element("img", { src: data.thumbnails[face], width: 64, height: 64, alt: "the face that was touched" })
  touched.append(image, element("span", {}, source.data.text[face]))
}

async function addMap(place) {
  const number = place.dataset.map
  const views = await Bokeh.embed.embed_item(data.maps[number], place)
  const source = views.roots[0].model.renderers[0].data_source
  const map = { source, touched: document.querySelector(`.touched[data-map="${number}"]`) }
  maps.push(map)
  source.selected.properties.indices.change.connect(() => showTouched(map))
  const kind = document.querySelector(`.kind[data-map="${number}"]`)
  kind.addEventListener("change", () => showKind(map, kind.value))
}

async function draw() {
  Bokeh.set_log_level("warn")
  for (const place of document.querySelectorAll(".map")) await addMap(place)
  if (maps.length) paint()
  label?.addEventListener("change", paint)
  for (const place of document.querySelectorAll(".chart")) {
    await Bokeh.embed.embed_item(data.curves[place.dataset.curve], place)
  }
  document.documentElement.dataset.drawn = "yes"
}

draw()
