# A shape with a mistake.
{
  title: .data.message.subject
  text: .data.message.text
}
