// The official npm SDKs against a door given as JSON on the command line; prints what each check saw as JSON lines.
import Anthropic from "@anthropic-ai/sdk"
import OpenAI from "openai"

const door = JSON.parse(process.argv[2])
const openai = new OpenAI({ baseURL: door.openai, apiKey: door.openaiKey, maxRetries: 0 })
const anthropic = new Anthropic({ baseURL: door.anthropic, ...door.anthropicKey, maxRetries: 0 })
const messages = [{ role: "user", content: door.question }]
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
const asksTool = [{ role: "user", content: "Use weather for Paris" }]

const refused = async (call) => {
  try {
    await call()
  } catch (error) {
    return { name: error.constructor.name, status: error.status, body: error.error }
  }
  return null
}

const checks = {
  async chat() {
    const whole = await openai.chat.completions.create({ model: "dev-small", messages, max_tokens: 100 })
    const stream = await openai.chat.completions.create({
      model: "dev-small", messages, max_tokens: 100, stream: true, stream_options: { include_usage: true },
    })
    let text = ""
    let usage = null
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? ""
      usage = chunk.usage ?? usage
    }
    return { whole: whole.choices[0].message.content, text, wholeUsage: whole.usage.total_tokens, usage: usage?.total_tokens }
  },
  async chatTools() {
    const runner = openai.chat.completions.stream({
      model: "dev-small", messages: asksTool, max_tokens: 100,
      tools: [{ type: "function", function: { name: "weather", parameters } }],
    })
    const { message, finish_reason } = (await runner.finalChatCompletion()).choices[0]
    return { reason: finish_reason, name: message.tool_calls[0].function.name, input: JSON.parse(message.tool_calls[0].function.arguments) }
  },
  async responses() {
    const stream = openai.responses.stream({ model: "dev-small", input: door.question, max_output_tokens: 100 })
    let text = ""
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta
    const final = await stream.finalResponse()
    return { text, whole: final.output_text, usage: final.usage.total_tokens }
  },
  async embeddings() {
    const answer = await openai.embeddings.create({ model: "dev-embed", input: ["a red fox", "fox, red"] })
    return { sizes: answer.data.map((one) => one.embedding.length), usage: answer.usage.total_tokens }
  },
  async messages() {
    const request = { model: "dev-small", messages, max_tokens: 100 }
    const whole = await anthropic.messages.create(request)
    const stream = anthropic.messages.stream(request)
    let text = ""
    stream.on("text", (delta) => { text += delta })
    const final = await stream.finalMessage()
    const counted = await anthropic.messages.countTokens({ model: "dev-small", messages })
    return {
      whole: whole.content[0].text, text, final: final.content[0].text,
      usage: [whole.usage.input_tokens, final.usage.input_tokens, counted.input_tokens],
      written: [whole.usage.output_tokens, final.usage.output_tokens],
    }
  },
  async messagesTools() {
    const stream = anthropic.messages.stream({
      model: "dev-small", messages: asksTool, max_tokens: 100, tools: [{ name: "weather", input_schema: parameters }],
    })
    const final = await stream.finalMessage()
    return { reason: final.stop_reason, name: final.content[0].name, input: final.content[0].input }
  },
  async image() {
    const data = door.image
    const one = await openai.chat.completions.create({
      model: "dev-small", max_tokens: 100, messages: [{ role: "user", content: [
        { type: "text", text: "See" }, { type: "image_url", image_url: { url: `data:image/png;base64,${data}` } },
      ] }],
    })
    const other = await anthropic.messages.create({
      model: "dev-small", max_tokens: 100, messages: [{ role: "user", content: [
        { type: "text", text: "See" }, { type: "image", source: { type: "base64", media_type: "image/png", data } },
      ] }],
    })
    return { openai: one.choices[0].message.content, anthropic: other.content[0].text }
  },
  async refused() {
    const strangers = {
      openai: new OpenAI({ baseURL: door.openai, apiKey: "nobody's", maxRetries: 0 }),
      anthropic: new Anthropic({ baseURL: door.anthropic, apiKey: "nobody's", maxRetries: 0 }),
    }
    const ask = (client, model) => client.chat.completions.create({ model, messages, max_tokens: 10 })
    const askOther = (client, model) => client.messages.create({ model, messages, max_tokens: 10 })
    return {
      openaiKey: await refused(() => ask(strangers.openai, "dev-small")),
      anthropicKey: await refused(() => askOther(strangers.anthropic, "dev-small")),
      openaiLimit: await refused(() => ask(openai, "dev-429")),
      anthropicLimit: await refused(() => askOther(anthropic, "dev-429")),
    }
  },
  async abort() {
    const seen = { openai: 0, anthropic: 0 }
    const stream = await openai.chat.completions.create({ model: "dev-endless", messages, max_tokens: 1000, stream: true })
    for await (const chunk of stream) if (chunk.choices[0]?.delta?.content && ++seen.openai === 5) stream.controller.abort()
    const other = await anthropic.messages.create({ model: "dev-endless", messages, max_tokens: 1000, stream: true })
    for await (const event of other) if (event.type === "content_block_delta" && ++seen.anthropic === 5) other.controller.abort()
    return seen
  },
}

for (const [name, check] of Object.entries(checks)) {
  try {
    console.log(JSON.stringify({ check: name, saw: await check() }))
  } catch (error) {
    console.log(JSON.stringify({ check: name, error: `${error.constructor.name}: ${error.message}` }))
  }
}
