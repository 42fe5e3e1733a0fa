// Reads Yjs updates (base64, one a line) and says what TipTap's own schema makes of each, and whether it would delete any.
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'

const folder = process.argv[2]
const require = createRequire(join(folder, 'package.json'))
const load = async (name) => import(pathToFileURL(require.resolve(name)))

const Y = await load('yjs')
const { yXmlFragmentToProseMirrorRootNode } = await load('y-prosemirror')
const { getSchema } = await load('@tiptap/core')
const { StarterKit } = await load('@tiptap/starter-kit')
const { TableKit } = await load('@tiptap/extension-table')
const { TaskList } = await load('@tiptap/extension-task-list')
const { TaskItem } = await load('@tiptap/extension-task-item')
const { Image } = await load('@tiptap/extension-image')
const { Highlight } = await load('@tiptap/extension-highlight')

const schema = getSchema([StarterKit, TableKit, TaskList, TaskItem.configure({ nested: true }), Image, Highlight])

function adjacentTexts (parent) {
  const children = parent.toArray()
  return children.some((child, at) =>
    (child instanceof Y.XmlText && children[at + 1] instanceof Y.XmlText) ||
    (child instanceof Y.XmlElement && adjacentTexts(child)))
}

function verdict (update) {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, Buffer.from(update, 'base64'))
  const fragment = doc.getXmlFragment('default')
  if (adjacentTexts(fragment)) return { error: 'adjacent texts' }
  let written = false
  doc.on('update', () => { written = true })
  try {
    const node = yXmlFragmentToProseMirrorRootNode(fragment, schema)
    if (written) return { error: 'the client deleted something' }
    if (node.childCount) node.check()
    return { json: node.toJSON() }
  } catch (error) {
    return { error: String(error) }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(verdict(line)) + '\n')
}
